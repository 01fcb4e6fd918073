"""Digits: 8 x 8 handwritten digits that come with scikit-learn, so nothing needs to be there to try them."""

from pathlib import Path
from typing import final

import numpy as np

from .dataset import AbstractDataset, Data, Split
from .split import stratified_order
from .transform import Transform

CLASSES = tuple(str(digit) for digit in range(10))
TRANSFORM = Transform(mean=(0.5,), std=(0.5,))  # to -1..1, as in MNIST
SEED = 0


@final
class Digits(AbstractDataset):
    """Handwritten digits, 8 x 8 grey, 1438 to train and 359 to test; a fixed stratified split, 80 to 20.

    The original grey levels 0..16 are stored as round(level * 255 / 16) in uint8: 17 distinct values, so
    nothing is lost.
    """

    name = "Digits"
    summary = "handwritten digits, 8 x 8 grey, 10 classes, 1438 + 359; comes with scikit-learn"
    reference = (
        "E. Alpaydin and C. Kaynak: Optical recognition of handwritten digits. "
        "UCI Machine Learning Repository, 1998. doi:10.24432/C50P49."
    )
    task_kind = "classification"

    def load(self, *, root: Path | None = None, download: bool = False) -> Data:
        """Return the data; `root` and `download` are not needed and not looked at."""
        from sklearn.datasets import load_digits  # a second to import

        levels, labels = load_digits(return_X_y=True)
        images = np.round(levels * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
        labels = labels.astype(np.int32)
        test, train = stratified_order(labels, round(0.2 * len(labels)), SEED)
        return Data(
            self.name,
            Split(images[train], labels[train]),
            Split(images[test], labels[test]),
            CLASSES,
            TRANSFORM,
        )
