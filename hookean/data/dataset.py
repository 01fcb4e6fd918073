"""The contract of a data set: two splits in memory, the class names and the transform to the network."""

import abc
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Shaped

from .transform import Transform


class DataError(ValueError):
    """Data that are missing, broken or against the contract; the message says which and what to do."""


@dataclass(frozen=True, eq=False)
class Split:
    """The samples of one split, whole in memory.

    Arguments:
        inputs: raw images [n, h, w, c] in uint8, or features [n, f] in float32.
        labels: the class of each sample [n], int32, counted from 0.

    Raises:
        DataError: if type or shape is another, or a feature is not finite.
    """

    # No shapes here: the check below says more than that of an annotation, which would come before it.
    inputs: Shaped[np.ndarray, "..."]
    labels: Shaped[np.ndarray, "..."]

    def __post_init__(self) -> None:
        inputs, labels = self.inputs, self.labels
        if (inputs.dtype, inputs.ndim) not in ((np.dtype(np.uint8), 4), (np.dtype(np.float32), 2)):
            raise DataError(
                "`inputs` must be uint8 images [n, h, w, c] or float32 features [n, f]; "
                f"got {inputs.dtype} of shape {inputs.shape}."
            )
        if labels.dtype != np.int32 or labels.ndim != 1:
            raise DataError(f"`labels` must be int32 [n]; got {labels.dtype} of shape {labels.shape}.")
        if len(inputs) != len(labels) or len(labels) == 0:
            raise DataError(
                "`inputs` and `labels` must have the same number of samples, at least one; "
                f"got {len(inputs)} and {len(labels)}."
            )
        if inputs.dtype == np.float32 and not np.isfinite(inputs).all():
            index = tuple(int(i) for i in np.argwhere(~np.isfinite(inputs))[0])
            raise DataError(
                f"`inputs` must be finite; got {inputs[index]} first at index {index}. Remove or repair that sample."
            )

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Data:
    """A loaded data set.

    Arguments:
        name: name of the data set, under which it is registered.
        train: the split to learn from.
        test: the split to measure on.
        classes: name of each class; label k means `classes[k]`.
        transform: what happens to a sample on its way to the network.
        label: name to print beside every figure; says so where the data are not the standard ones, as in
            "CIFAR-10 (JPEG)". Default: `name`.

    Raises:
        DataError: if the splits disagree with each other, with the classes or with the transform.
    """

    name: str
    train: Split
    test: Split
    classes: tuple[str, ...]
    transform: Transform
    label: str = ""

    def __post_init__(self) -> None:
        if not self.label:
            object.__setattr__(self, "label", self.name)
        train, test = self.train.inputs, self.test.inputs
        if train.shape[1:] != test.shape[1:] or train.dtype != test.dtype:
            raise DataError(
                f"{self.name}: train and test must hold samples of one kind; "
                f"got {train.dtype} {train.shape[1:]} and {test.dtype} {test.shape[1:]}."
            )
        for split, labels in (("train", self.train.labels), ("test", self.test.labels)):
            bad = np.flatnonzero((labels < 0) | (labels >= len(self.classes)))
            if bad.size:
                raise DataError(
                    f"{self.name}: labels of {split} must be in 0..{len(self.classes) - 1}, one per class; "
                    f"got {labels[bad[0]]} first at index {bad[0]}."
                )
        try:
            self.transform.sample_shape(train.shape[1:])
        except ValueError as error:
            raise DataError(f"{self.name}: the transform does not fit the samples: {error}") from error

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of ONE sample as the network sees it: (h, w, c) for images, (f,) for features."""
        return self.transform.sample_shape(self.train.inputs.shape[1:])

    @property
    def number_of_classes(self) -> int:
        """How many classes there are."""
        return len(self.classes)


class AbstractDataset(abc.ABC):
    """A data set that can be loaded: four facts and one method, in a final subclass; its export registers it.

    Facts:
        name: the name of the class, which is the name on the command line (case does not matter there).
        summary: one line for lists.
        reference: the citation.
        task_kind: what the labels are for; "classification" in every set of this room.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    reference: ClassVar[str]
    task_kind: ClassVar[str]

    def __init_subclass__(cls) -> None:
        for fact in ("name", "summary", "reference", "task_kind"):
            if not isinstance(getattr(cls, fact, None), str) or not getattr(cls, fact):
                raise TypeError(f"the data set {cls.__name__} must state `{fact}`, a non-empty string.")

    @abc.abstractmethod
    def load(self, *, root: Path | None = None, download: bool = False) -> Data:
        """Return the data, whole in memory.

        Arguments:
            root: folder that holds the folders of the sets (default: `hookean.data.layout.search_places`).
                Sets that are generated or come with scikit-learn need none.
            download: whether the public hub may be asked where no local copy is found (default False).

        Raises:
            DataError: if the data are missing or broken.
        """
