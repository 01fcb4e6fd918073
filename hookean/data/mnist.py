"""MNIST: handwritten digits, the first thing to try."""

from pathlib import Path
from typing import final

from .dataset import AbstractDataset, Data
from .layout import Layout
from .parquet import load_images
from .transform import Transform

LAYOUT = Layout(folder="mnist", repository="ylecun/mnist", hub_folder="mnist", channels=1)
CLASSES = tuple(str(digit) for digit in range(10))
TRANSFORM = Transform(mean=(0.5,), std=(0.5,))  # to -1..1, as published comparisons of predictive coding have it


@final
class MNIST(AbstractDataset):
    """Handwritten digits, 28 x 28 grey, 60,000 to train and 10,000 to test."""

    name = "MNIST"
    summary = "handwritten digits, 28 x 28 grey, 10 classes, 60,000 + 10,000"
    reference = (
        "Y. LeCun, L. Bottou, Y. Bengio and P. Haffner: Gradient-based learning applied to document "
        "recognition. Proceedings of the IEEE 86(11), 1998."
    )
    task_kind = "classification"

    def load(self, *, root: Path | None = None, download: bool = False) -> Data:
        """Return the data from the first local copy, or from the hub where `download` allows it."""
        images = load_images(LAYOUT, root=root, download=download)
        return Data(self.name, images.train, images.test, CLASSES, TRANSFORM, images.label("MNIST"))
