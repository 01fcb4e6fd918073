"""Iris: four measurements of 150 flowers, the smallest real data; they come with scikit-learn."""

from pathlib import Path
from typing import final

import numpy as np

from .dataset import AbstractDataset, Data, Split
from .split import stratified_order
from .transform import Transform

CLASSES = ("setosa", "versicolor", "virginica")
SEED = 0


@final
class Iris(AbstractDataset):
    """Length and width of sepal and petal of three species; 120 to train, 30 to test, fixed and stratified.

    Each feature is standardised with mean and standard deviation of the training flowers; the test flowers
    with the same numbers.
    """

    name = "Iris"
    summary = "four measurements of a flower, 3 classes, 120 + 30; comes with scikit-learn"
    reference = (
        "R. A. Fisher: The use of multiple measurements in taxonomic problems. "
        "Annals of Eugenics 7(2), 1936. doi:10.1111/j.1469-1809.1936.tb02137.x."
    )
    task_kind = "classification"

    def load(self, *, root: Path | None = None, download: bool = False) -> Data:
        """Return the data; `root` and `download` are not needed and not looked at."""
        from sklearn.datasets import load_iris  # a second to import

        features, labels = load_iris(return_X_y=True)
        labels = labels.astype(np.int32)
        test, train = stratified_order(labels, 30, SEED)
        mean, std = features[train].mean(axis=0), features[train].std(axis=0)
        features = ((features - mean) / std).astype(np.float32)
        return Data(
            self.name,
            Split(features[train], labels[train]),
            Split(features[test], labels[test]),
            CLASSES,
            Transform(),
        )
