"""EMNIST, letters: handwritten letters in MNIST's format."""

import string
from pathlib import Path
from typing import final

import numpy as np

from .dataset import AbstractDataset, Data, Split
from .layout import Layout
from .parquet import load_images
from .transform import Transform

LAYOUT = Layout(folder="emnist_letters", repository="tanganke/emnist_letters", hub_folder="emnist-letters", channels=1)
CLASSES = tuple(string.ascii_uppercase)
TRANSFORM = Transform(mean=(0.5,), std=(0.5,))  # to -1..1, as in MNIST


@final
class EMNIST(AbstractDataset):
    """Handwritten letters, both cases under one label, 28 x 28 grey, 124,800 to train and 20,800 to test.

    The original files hold every image with rows and columns exchanged, and so does the copy on the hub; they are
    loaded upright.
    """

    name = "EMNIST"
    summary = "handwritten letters, 28 x 28 grey, 26 classes, 124,800 + 20,800"
    reference = (
        "G. Cohen, S. Afshar, J. Tapson and A. van Schaik: EMNIST: extending MNIST to handwritten letters. "
        "International Joint Conference on Neural Networks, 2017."
    )
    task_kind = "classification"

    def load(self, *, root: Path | None = None, download: bool = False) -> Data:
        """Return the data from the first local copy, or from the hub where `download` allows it."""
        images = load_images(LAYOUT, root=root, download=download)
        label = images.label("EMNIST letters")
        return Data(self.name, _upright(images.train), _upright(images.test), CLASSES, TRANSFORM, label)


def _upright(split: Split) -> Split:
    return Split(np.ascontiguousarray(split.inputs.transpose(0, 2, 1, 3)), split.labels)
