"""Parts of a split: disjoint, complete, with the shares of the whole, and the same for the same seed."""

import numpy as np
import pytest

from hookean.data.dataset import Split
from hookean.data.split import subset, validation_split, with_label_noise

COUNTS = (100, 60, 40)


@pytest.fixture
def whole():
    """200 samples in three unequal classes, in random order; the input is the sample's number."""
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(3), COUNTS)).astype(np.int32)
    return Split(np.arange(200, dtype=np.float32)[:, None], labels)


def numbers(split):
    return split.inputs[:, 0].astype(int)


@pytest.mark.parametrize("size", [50, 0.25])
def test_parts_are_disjoint_complete_and_stratified(whole, size):
    train, valid = validation_split(whole, size=size, seed=1)
    assert (len(train), len(valid)) == (150, 50)
    assert sorted([*numbers(train), *numbers(valid)]) == list(range(200))
    np.testing.assert_array_equal(np.bincount(valid.labels), [25, 15, 10])
    for part in (train, valid):
        np.testing.assert_array_equal(part.labels, whole.labels[numbers(part)])
        assert np.all(np.diff(numbers(part)) > 0)


def test_the_seed_decides(whole):
    parts = [validation_split(whole, size=50, seed=seed)[1] for seed in (1, 1, 2)]
    np.testing.assert_array_equal(numbers(parts[0]), numbers(parts[1]))
    assert set(numbers(parts[0])) != set(numbers(parts[2]))
    small = [subset(whole, 20, seed) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(numbers(small[0]), numbers(small[1]))
    assert set(numbers(small[0])) != set(numbers(small[2]))


@pytest.mark.parametrize("size", [20, 0.1])
def test_a_subset_is_stratified(whole, size):
    np.testing.assert_array_equal(np.bincount(subset(whole, size, 0).labels), [10, 6, 4])


def test_a_subset_of_all_is_the_split_itself(whole):
    assert subset(whole, 200, 0) is whole


@pytest.mark.parametrize("size", [0, 2, -1, 198, 200, 500, 0.001, 0.999])
def test_a_size_without_room_for_every_class_is_refused(whole, size):
    with pytest.raises(ValueError, match=r"on both sides: 3 to 197 of 200 samples; got"):
        validation_split(whole, size=size, seed=0)
    if size != 200:
        with pytest.raises(ValueError, match=r"3 to 197 of 200 samples, or 200, which is all of them; got"):
            subset(whole, size, 0)


@pytest.mark.parametrize("size", [1.0, 0.0, -0.5, 50.0, float("nan")])
def test_a_share_out_of_range_is_refused(whole, size):
    with pytest.raises(ValueError, match=r"`size` given as a share must lie between 0 and 1"):
        validation_split(whole, size=size, seed=0)


def test_a_truth_value_is_no_size(whole):
    with pytest.raises(ValueError, match=r"`size` must be a number of samples"):
        validation_split(whole, size=True, seed=0)


def test_a_class_with_one_sample_is_named(whole):
    labels = whole.labels.copy()
    labels[7] = 3
    with pytest.raises(ValueError, match=r"class 3 has 1"):
        validation_split(Split(whole.inputs, labels), size=50, seed=0)


def test_label_noise_replaces_its_share_by_other_classes():
    labels = np.repeat(np.array([2, 5, 7], np.int32), 200)
    clean = Split(np.arange(600, dtype=np.float32)[:, None], labels)
    noisy = with_label_noise(clean, 0.3, seed=1)
    changed = noisy.labels != labels
    assert changed.sum() == 180
    assert set(noisy.labels) == {2, 5, 7}
    assert noisy.labels.dtype == labels.dtype
    assert np.array_equal(noisy.inputs, clean.inputs)
    assert np.array_equal(clean.labels, labels)
    for kind in (2, 5, 7):  # both other classes take their part
        _, counts = np.unique(noisy.labels[changed & (labels == kind)], return_counts=True)
        assert len(counts) == 2
        assert counts.min() > 15
    assert np.array_equal(with_label_noise(clean, 0.3, seed=1).labels, noisy.labels)
    assert not np.array_equal(with_label_noise(clean, 0.3, seed=2).labels, noisy.labels)
    assert np.array_equal(with_label_noise(clean, 0.0, seed=1).labels, labels)
