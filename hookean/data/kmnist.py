"""KMNIST: cursive Japanese characters in MNIST's format; near to digits, and none of them."""

from pathlib import Path
from typing import final

from .dataset import AbstractDataset, Data
from .layout import Layout
from .parquet import load_images
from .transform import Transform

LAYOUT = Layout(folder="kmnist", repository="tanganke/kmnist", hub_folder="kmnist", channels=1)
CLASSES = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
TRANSFORM = Transform(mean=(0.5,), std=(0.5,))  # to -1..1, as in MNIST


@final
class KMNIST(AbstractDataset):
    """Cursive Japanese characters (Kuzushiji), 28 x 28 grey, 60,000 to train and 10,000 to test."""

    name = "KMNIST"
    summary = "cursive Japanese characters, 28 x 28 grey, 10 classes, 60,000 + 10,000"
    reference = (
        "T. Clanuwat, M. Bober-Irizar, A. Kitamoto, A. Lamb, K. Yamamoto and D. Ha: Deep learning for classical "
        "Japanese literature. arXiv:1812.01718, 2018."
    )
    task_kind = "classification"

    def load(self, *, root: Path | None = None, download: bool = False) -> Data:
        """Return the data from the first local copy, or from the hub where `download` allows it."""
        images = load_images(LAYOUT, root=root, download=download)
        return Data(self.name, images.train, images.test, CLASSES, TRANSFORM, images.label("KMNIST"))
