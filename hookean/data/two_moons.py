"""Two moons: points of the plane on two interleaved half circles; generated, and quick to draw."""

from pathlib import Path
from typing import final

import numpy as np

from .dataset import AbstractDataset, Data, Split
from .transform import Transform

CLASSES = ("upper moon", "lower moon")
TRAIN, TEST = 1000, 500
NOISE = 0.1  # standard deviation in each direction; the half circles have radius 1
TRAIN_SEED, TEST_SEED = 0, 1


@final
class TwoMoons(AbstractDataset):
    """Points on two interleaved half circles with Gaussian noise 0.1; 1000 to train, 500 to test, fixed."""

    name = "TwoMoons"
    summary = "points on two interleaved half circles, 2 features, 2 classes, 1000 + 500; generated"
    reference = (
        "F. Pedregosa et al.: Scikit-learn: machine learning in Python (make_moons). "
        "Journal of Machine Learning Research 12, 2011."
    )
    task_kind = "classification"

    def load(self, *, root: Path | None = None, download: bool = False) -> Data:
        """Return the data; `root` and `download` are not needed and not looked at."""
        return Data(self.name, _moons(TRAIN, TRAIN_SEED), _moons(TEST, TEST_SEED), CLASSES, Transform())


def _moons(n: int, seed: int) -> Split:
    from sklearn.datasets import make_moons  # a second to import

    points, labels = make_moons(n, noise=NOISE, random_state=seed)
    return Split(points.astype(np.float32), labels.astype(np.int32))
