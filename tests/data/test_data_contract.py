"""What a split, a data set and a registered class must be, and what is said when they are not."""

import inspect

import numpy as np
import pytest

import hookean.data as room
from hookean.data.dataset import AbstractDataset, Data, DataError, Split
from hookean.data.transform import Transform
from hookean.registry import exported_classes

IMAGES = Transform(mean=(0.5,), std=(0.5,))


def features(n=4, f=3):
    return np.arange(n * f, dtype=np.float32).reshape(n, f)


def labels(*values):
    return np.array(values, np.int32)


def pixels(n, h=5, w=4, c=1):
    return np.zeros((n, h, w, c), np.uint8)


def data(train, test, classes=("a", "b"), transform=None):
    return Data("Toy", train, test, classes, Transform() if transform is None else transform)


@pytest.mark.parametrize(
    ("inputs", "targets", "message"),
    [
        (features().astype(np.float64), labels(0, 1, 0, 1), r"`inputs` must be uint8 images.*float64"),
        (np.zeros((4, 3), np.uint8), labels(0, 1, 0, 1), r"`inputs` must be uint8 images.*\(4, 3\)"),
        (features(), np.array([0, 1, 0, 1]), r"`labels` must be int32 \[n\]; got int64"),
        (features(), labels(0, 1, 0, 1)[:, None], r"`labels` must be int32 \[n\].*\(4, 1\)"),
        (features(), labels(0, 1, 0), r"same number of samples.*4 and 3"),
        (features(0), labels(), r"at least one; got 0 and 0"),
    ],
)
def test_a_split_of_the_wrong_kind_is_refused(inputs, targets, message):
    with pytest.raises(DataError, match=message):
        Split(inputs, targets)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_feature_that_is_not_finite_is_named_with_its_first_index(value):
    inputs = features()
    inputs[2, 1] = inputs[3, 0] = value
    with pytest.raises(DataError, match=rf"`inputs` must be finite; got {value} first at index \(2, 1\)"):
        Split(inputs, labels(0, 1, 0, 1))


def test_a_label_out_of_range_is_named_with_split_and_index():
    good, high, low = labels(0, 1, 0, 1), labels(0, 1, 2, 9), labels(0, -1, 0, 1)
    with pytest.raises(DataError, match=r"labels of train must be in 0..1.*got 2 first at index 2"):
        data(Split(features(), high), Split(features(), good))
    with pytest.raises(DataError, match=r"labels of test must be in 0..1.*got -1 first at index 1"):
        data(Split(features(), good), Split(features(), low))


def test_splits_must_hold_samples_of_one_kind():
    with pytest.raises(DataError, match=r"one kind; got float32 \(3,\) and float32 \(2,\)"):
        data(Split(features(), labels(0, 1, 0, 1)), Split(features(f=2), labels(0, 1, 0, 1)))


def test_the_transform_must_fit():
    split = Split(pixels(2, c=3), labels(0, 1))
    with pytest.raises(DataError, match=r"transform does not fit.*images \(h, w, 1\).*\(5, 4, 3\)"):
        data(split, split, transform=IMAGES)
    with pytest.raises(DataError, match=r"transform does not fit.*features"):
        data(split, split)


def test_shape_is_what_the_network_sees():
    images = Split(pixels(2), labels(0, 1))
    assert data(images, images, transform=IMAGES).shape == (5, 4, 1)
    assert data(images, images, transform=Transform((0.5,), (0.5,), crop=3)).shape == (3, 3, 1)
    table = Split(features(), labels(0, 1, 0, 1))
    loaded = data(table, table, classes=("a", "b", "c"))
    assert (loaded.shape, loaded.number_of_classes, loaded.label, len(loaded.train)) == ((3,), 3, "Toy", 4)


def test_the_room_exports_final_data_sets_under_their_names():
    exported = exported_classes(room, AbstractDataset)
    assert set(exported) >= {"MNIST", "FashionMNIST", "CIFAR10", "CIFAR100", "TinyImageNet"}
    assert set(exported) >= {"Digits", "Iris", "TwoMoons"}
    for name, member in exported.items():
        assert member.name == name
        assert getattr(member, "__final__", False), f"{name} must be marked @final"
        assert (inspect.getdoc(member) or "").endswith(".")


def test_a_data_set_must_state_its_facts():
    with pytest.raises(TypeError, match=r"Nameless must state `reference`"):

        class Nameless(AbstractDataset):
            name = "Nameless"
            summary = "a set"
            task_kind = "classification"


@pytest.mark.parametrize("name", ["Digits", "Iris", "TwoMoons"])
def test_small_sets_need_nothing_and_are_always_the_same(name):
    first, second = (exported_classes(room, AbstractDataset)[name]().load() for _ in range(2))
    for part in ("train", "test"):
        np.testing.assert_array_equal(getattr(first, part).inputs, getattr(second, part).inputs)
        np.testing.assert_array_equal(getattr(first, part).labels, getattr(second, part).labels)
        shares = np.bincount(getattr(first, part).labels) / len(getattr(first, part))
        np.testing.assert_allclose(shares, 1 / first.number_of_classes, atol=0.01)
    known = {tuple(row.ravel()) for row in first.train.inputs}
    # One pair of flowers in Iris is identical, and may fall on both sides.
    assert sum(tuple(row.ravel()) in known for row in first.test.inputs) <= 1


def test_digits_are_the_originals_in_255_levels():
    from sklearn.datasets import load_digits

    loaded = room.Digits().load()
    assert (len(loaded.train), len(loaded.test), loaded.shape) == (1438, 359, (8, 8, 1))
    levels = np.concatenate([loaded.train.inputs, loaded.test.inputs]).astype(float) * 16 / 255
    assert np.abs(levels - levels.round()).max() < 0.04
    original = load_digits().images
    assert sorted(map(bytes, levels.round().astype(np.uint8))) == sorted(map(bytes, original.astype(np.uint8)))


def test_iris_is_standardised_with_its_training_flowers_alone():
    loaded = room.Iris().load()
    assert (len(loaded.train), len(loaded.test), loaded.shape) == (120, 30, (4,))
    np.testing.assert_allclose(loaded.train.inputs.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(loaded.train.inputs.std(axis=0), 1, atol=1e-6)
    assert np.abs(loaded.test.inputs.mean(axis=0)).max() > 1e-3


def test_two_moons_lie_on_their_half_circles():
    split = room.TwoMoons().load().train
    centres = np.array([[0, 0], [1, 0.5]], np.float32)[split.labels]
    radii = np.linalg.norm(split.inputs - centres, axis=1)
    assert abs(radii.mean() - 1) < 0.02
    assert 0.08 < radii.std() < 0.12
