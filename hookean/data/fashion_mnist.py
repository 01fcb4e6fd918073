"""FashionMNIST: articles of clothing in MNIST's format, and harder."""

from pathlib import Path
from typing import final

from .dataset import AbstractDataset, Data
from .layout import Layout
from .parquet import load_images
from .transform import Transform

LAYOUT = Layout(
    folder="fashion_mnist",
    repository="zalando-datasets/fashion_mnist",
    hub_folder="fashion_mnist",
    channels=1,
)
CLASSES = (
    "T-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
TRANSFORM = Transform(mean=(0.5,), std=(0.5,))  # to -1..1, as published comparisons of predictive coding have it


@final
class FashionMNIST(AbstractDataset):
    """Articles of clothing, 28 x 28 grey, 60,000 to train and 10,000 to test."""

    name = "FashionMNIST"
    summary = "articles of clothing, 28 x 28 grey, 10 classes, 60,000 + 10,000"
    reference = (
        "H. Xiao, K. Rasul and R. Vollgraf: Fashion-MNIST: a novel image dataset for benchmarking machine "
        "learning algorithms. arXiv:1708.07747, 2017."
    )
    task_kind = "classification"

    def load(self, *, root: Path | None = None, download: bool = False) -> Data:
        """Return the data from the first local copy, or from the hub where `download` allows it."""
        images = load_images(LAYOUT, root=root, download=download)
        return Data(self.name, images.train, images.test, CLASSES, TRANSFORM, images.label("FashionMNIST"))
