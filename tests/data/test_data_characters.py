"""EMNIST, KMNIST and notMNIST on small files in the hub's layout, and images spoiled on purpose."""

import numpy as np
import pytest

import hookean.data as room
from hookean.data import corruption
from hookean.data.dataset import Split

LAYOUTS = {
    "EMNIST": ("emnist_letters", "-00000-of-00001"),
    "KMNIST": ("kmnist", "-00000-of-00001"),
    "NotMNIST": ("notMNIST/data", "-00000-of-00001-66ec62000fa1b4e3"),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_characters_load_in_the_layout_of_the_hub(tmp_path, images, encode, write_parquet, name):
    folder, suffix = LAYOUTS[name]
    raw = {split: images(4, 28, 1, seed) for seed, split in enumerate(("train", "test"))}
    last = 25 if name == "EMNIST" else 9
    for split, pictures in raw.items():
        contents = [encode(picture, "PNG") for picture in pictures]
        write_parquet(tmp_path / folder / f"{split}{suffix}.parquet", contents, [last, 0, 3, 1])
    loaded = getattr(room, name)().load(root=tmp_path)
    assert (loaded.shape, loaded.number_of_classes, len(set(loaded.classes))) == ((28, 28, 1), last + 1, last + 1)
    assert loaded.train.labels.tolist() == [last, 0, 3, 1]
    stored = raw["test"].transpose(0, 2, 1, 3) if name == "EMNIST" else raw["test"]  # EMNIST's lie on their side
    np.testing.assert_array_equal(loaded.test.inputs, stored)
    assert loaded.test.inputs.flags.c_contiguous


@pytest.fixture
def split(images):
    return Split(images(5, 12, 1), np.arange(5, dtype=np.int32))


def test_noise_has_its_size_and_its_seed(split):
    middle = Split(np.full((20, 12, 12, 1), 128, np.uint8), np.zeros(20, np.int32))
    noisy = corruption.with_noise(middle, 0.1, seed=1)
    assert noisy.inputs.std() / 255 == pytest.approx(0.1, rel=0.05)
    np.testing.assert_array_equal(noisy.inputs, corruption.with_noise(middle, 0.1, seed=1).inputs)
    assert (noisy.inputs != corruption.with_noise(middle, 0.1, seed=2).inputs).any()
    np.testing.assert_array_equal(corruption.with_noise(split, 0, seed=1).inputs, split.inputs)


def test_a_quarter_turn_is_exact(split):
    np.testing.assert_array_equal(corruption.rotated(split, 90).inputs, np.rot90(split.inputs, 1, axes=(1, 2)))
    assert (corruption.rotated(split, 45).inputs[:, 0, 0] == 0).all()


def test_blur_is_within_images_and_keeps_their_sum():
    point = np.zeros((2, 15, 15, 1), np.uint8)
    point[0, 7, 7] = 255
    found = corruption.blurred(Split(point, np.zeros(2, np.int32)), 1.0).inputs
    assert found[0, 7, 7] == found[0].max() < 60
    np.testing.assert_array_equal(found[0], found[0].transpose(1, 0, 2))
    assert found[0].sum() == pytest.approx(255, rel=0.1)
    assert not found[1].any()


def test_grey_copies_weigh_colours_and_fill_the_size(images):
    colour = np.zeros((2, 8, 10, 3), np.uint8)
    colour[..., 1] = 200
    labels = np.zeros(2, np.int32)
    found = corruption.grey(Split(colour, labels), 6, 6)
    assert found.inputs.shape == (2, 6, 6, 1)
    assert (found.inputs == round(0.587 * 200)).all()
    square = Split(images(2, 6, 1), labels)
    np.testing.assert_array_equal(corruption.grey(square, 6, 6).inputs, square.inputs)
