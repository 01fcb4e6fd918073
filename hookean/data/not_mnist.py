"""notMNIST: the letters A to J in many typefaces, in MNIST's format."""

from pathlib import Path
from typing import final

from .dataset import AbstractDataset, Data
from .layout import Layout
from .parquet import load_images
from .transform import Transform

LAYOUT = Layout(folder="not_mnist", repository="anubhavmaity/notMNIST", hub_folder="data", channels=1)
CLASSES = tuple("ABCDEFGHIJ")
TRANSFORM = Transform(mean=(0.5,), std=(0.5,))  # to -1..1, as in MNIST


@final
class NotMNIST(AbstractDataset):
    """The letters A to J in many typefaces, 28 x 28 grey: the small, cleaned set, about 15,000 and 3,700.

    The original has no test split of its own; the split is that of the copy on the hub.
    """

    name = "NotMNIST"
    summary = "letters A to J in many typefaces, 28 x 28 grey, 10 classes, about 15,000 + 3,700"
    reference = "Y. Bulatov: notMNIST dataset. yaroslavvb.blogspot.com/2011/09/notmnist-dataset.html, 2011."
    task_kind = "classification"

    def load(self, *, root: Path | None = None, download: bool = False) -> Data:
        """Return the data from the first local copy, or from the hub where `download` allows it."""
        images = load_images(LAYOUT, root=root, download=download)
        return Data(self.name, images.train, images.test, CLASSES, TRANSFORM, images.label("notMNIST"))
