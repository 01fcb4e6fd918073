"""Parts of a split with the same share of every class: validation sets and small subsets."""

import numpy as np
from jaxtyping import Int

from .dataset import Split


def validation_split(split: Split, *, size: int | float, seed: int) -> tuple[Split, Split]:
    """Divide a split in two, at random, with the same share of every class in both.

    Arguments:
        split: what to divide.
        size: of the validation part: a number of samples (int), or a share between 0 and 1 (float).
        seed: of the choice; the same seed gives the same parts. It has no default: a result depends on it.

    Returns:
        The training part and the validation part; each keeps the order that the samples had.

    Raises:
        ValueError: if either part would have fewer samples than there are classes, or a class has one sample.
    """
    chosen, rest = _choose(split, _count(size, len(split)), seed, both=True)
    return _take(split, rest), _take(split, chosen)


def subset(split: Split, size: int | float, seed: int) -> Split:
    """Return `size` samples, chosen at random with the same share of every class, in the order they had.

    Arguments:
        split: what to choose from.
        size: a number of samples (int), or a share between 0 and 1 (float). All of them: `split` itself.
        seed: of the choice; the same seed gives the same samples.

    Raises:
        ValueError: if there are fewer samples than classes on either side of the choice (all may be taken).
    """
    if size == len(split) and not isinstance(size, bool | float):
        return split
    return _take(split, _choose(split, _count(size, len(split)), seed, both=False)[0])


def with_label_noise(split: Split, share: float, *, seed: int) -> Split:
    """Return the split with a share of its labels replaced, each by another class at random.

    Arguments:
        share: of the samples, from 0 to 1; rounded to a number of samples.
        seed: of the choice; the same seed spoils the same samples in the same way.
    """
    classes = np.unique(split.labels)
    generator = np.random.default_rng(seed)
    spoiled = generator.permutation(len(split))[: round(share * len(split))]
    places = np.searchsorted(classes, split.labels[spoiled]) + generator.integers(1, len(classes), len(spoiled))
    labels = split.labels.copy()
    labels[spoiled] = classes[places % len(classes)]
    return Split(split.inputs, labels)


def stratified_order(
    labels: Int[np.ndarray, " n"], size: int, seed: int
) -> tuple[Int[np.ndarray, " size"], Int[np.ndarray, " rest"]]:
    """Return the sorted indices of `size` samples with the same share of every class, and of the others."""
    # scikit-learn takes a second to import, which only those who split should pay.
    from sklearn.model_selection import train_test_split

    rest, chosen = train_test_split(np.arange(len(labels)), test_size=size, random_state=seed, stratify=labels)
    return np.sort(chosen), np.sort(rest)


def _choose(split: Split, size: int, seed: int, both: bool) -> tuple[np.ndarray, np.ndarray]:
    names, counts = np.unique(split.labels, return_counts=True)
    most = len(split) - len(names)
    if not len(names) <= size <= most:
        whole = "" if both else f", or {len(split)}, which is all of them"
        raise ValueError(
            f"`size` must leave at least as many samples as there are classes on both sides: "
            f"{len(names)} to {most} of {len(split)} samples{whole}; got {size}."
        )
    if counts.min() < 2:
        raise ValueError(
            f"every class needs at least 2 samples to be divided; class {names[counts.argmin()]} has 1. "
            "Leave it out or take more samples."
        )
    return stratified_order(split.labels, size, seed)


def _count(size: int | float, n: int) -> int:
    if isinstance(size, bool) or not isinstance(size, int | float | np.integer):
        raise ValueError(f"`size` must be a number of samples (int) or a share (float); got {size!r}.")
    if isinstance(size, int | np.integer):
        return int(size)
    if not 0 < size < 1:
        raise ValueError(f"`size` given as a share must lie between 0 and 1; got {size}. Give a count as an int.")
    return round(size * n)


def _take(split: Split, indices: Int[np.ndarray, " m"]) -> Split:
    return Split(split.inputs[indices], split.labels[indices])
