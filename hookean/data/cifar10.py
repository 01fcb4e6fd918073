"""CIFAR-10: small colour photographs of ten kinds of things."""

from pathlib import Path
from typing import final

from .dataset import AbstractDataset, Data
from .layout import Layout
from .parquet import load_images
from .transform import Transform

LAYOUT = Layout(folder="cifar10", repository="uoft-cs/cifar10", hub_folder="plain_text", channels=3)
CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
# Mean and standard deviation of the training images, as published comparisons of predictive coding have them.
TRANSFORM = Transform(mean=(0.4914, 0.4822, 0.4465), std=(0.2023, 0.1994, 0.2010), flip=0.5, crop=32, padding=4)


@final
class CIFAR10(AbstractDataset):
    """Photographs of ten kinds of things, 32 x 32 colour, 50,000 to train and 10,000 to test.

    A copy that was stored as JPEG is labelled "CIFAR-10 (JPEG)": accuracies on it are not the published ones.
    """

    name = "CIFAR10"
    summary = "photographs of ten kinds of things, 32 x 32 colour, 10 classes, 50,000 + 10,000"
    reference = (
        "A. Krizhevsky: Learning multiple layers of features from tiny images. Technical report, "
        "University of Toronto, 2009."
    )
    task_kind = "classification"

    def load(self, *, root: Path | None = None, download: bool = False) -> Data:
        """Return the data from the first local copy, or from the hub where `download` allows it."""
        images = load_images(LAYOUT, root=root, download=download)
        return Data(self.name, images.train, images.test, CLASSES, TRANSFORM, images.label("CIFAR-10"))
