"""The real files: counts, order, pixels, labels, and the time that a load from the cache takes."""

import time

import numpy as np
import pytest

import hookean.data as room

pytestmark = pytest.mark.real_data

FACTS = {
    "MNIST": ("MNIST", 60_000, 10_000, (28, 28, 1), [5, 0, 4, 1, 9], [7, 2, 1, 0, 4]),
    "FashionMNIST": ("FashionMNIST", 60_000, 10_000, (28, 28, 1), [9, 0, 0, 3, 0], [9, 2, 1, 1, 6]),
    "CIFAR10": ("CIFAR-10 (JPEG)", 50_000, 10_000, (32, 32, 3), [5, 1, 2, 5, 1], [1, 5, 2, 3, 0]),
    "TinyImageNet": (
        "Tiny ImageNet (20k)",
        20_000,
        5_000,
        (56, 56, 3),
        [116, 84, 138, 59, 16],
        [107, 139, 140, 69, 69],
    ),
}


FOLDERS = {
    "MNIST": "mnist",
    "FashionMNIST": "fashion_mnist",
    "CIFAR10": "cifar10",
    "TinyImageNet": "tiny_imagenet",
}


@pytest.fixture
def load(shared_root, session_cache, monkeypatch):
    monkeypatch.setenv("HOOKEAN_CACHE", str(session_cache))

    def load(name):
        if not list(shared_root.glob(f"{FOLDERS[name]}/*.parquet")):
            pytest.skip(f"{name} is not in {shared_root}")
        return getattr(room, name)().load(root=shared_root)

    return load


@pytest.mark.slow
@pytest.mark.parametrize("name", FACTS)
def test_counts_labels_and_order(load, name):
    data = load(name)
    label, n_train, n_test, shape, first_train, first_test = FACTS[name]
    assert (data.label, len(data.train), len(data.test), data.shape) == (label, n_train, n_test, shape)
    assert data.train.labels[:5].tolist() == first_train
    assert data.test.labels[:5].tolist() == first_test
    for split in (data.train, data.test):
        assert set(np.unique(split.labels)) == set(range(data.number_of_classes))
    if name != "MNIST":  # the one set whose classes are of unequal size
        assert set(np.bincount(data.train.labels)) == {n_train // data.number_of_classes}


def test_the_mean_pixel_of_mnist_and_the_time_from_the_cache(load):
    data = load("MNIST")
    assert data.train.inputs.mean() == pytest.approx(33.318421, abs=1e-5)
    started = time.perf_counter()
    load("MNIST")
    assert time.perf_counter() - started < 1.5


def test_tiny_imagenet_labels_index_the_sorted_wordnet_ids(shared_root):
    import pyarrow.parquet as pq

    path = shared_root / "tiny_imagenet/train.parquet"
    if not path.exists():
        pytest.skip(f"no {path}")
    table = pq.read_table(path)
    names = table.column("image").combine_chunks().field("path").to_pylist()
    from hookean.data.tiny_imagenet import CLASSES

    assert list(CLASSES) == sorted(CLASSES)
    for name, label in zip(names, table.column("label").to_pylist(), strict=True):
        assert name.startswith(CLASSES[label] + "_")
