"""Crop, flip and normalisation against NumPy, and what may and may not depend on the key."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from hookean.data import cifar10, cifar100, fashion_mnist, mnist, tiny_imagenet
from hookean.data.transform import Transform

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
TOLERANCE = 1e-5


def normalised(image, mean=MEAN, std=STD):
    return (image.astype(np.float64) / 255 - np.array(mean)) / np.array(std)


def draws(result, image, crop, padding):
    """Every (top, left, flipped) that explains a training sample, by trying all of them in NumPy."""
    padded = np.pad(image, ((padding, padding), (padding, padding), (0, 0)))
    found = []
    for top in range(padded.shape[0] - crop + 1):
        for left in range(padded.shape[1] - crop + 1):
            cut = padded[top : top + crop, left : left + crop]
            for flipped, candidate in ((False, cut), (True, cut[:, ::-1])):
                if np.allclose(result, normalised(candidate), atol=TOLERANCE):
                    found.append((top, left, flipped))
    return found


def test_evaluation_is_the_centre_crop_and_the_normalisation(images):
    raw = images(3, 11, 3)
    whole = Transform(MEAN, STD).evaluate(raw)
    assert whole.dtype == jnp.float32
    np.testing.assert_allclose(whole, [normalised(image) for image in raw], atol=TOLERANCE)
    # 11 - 8 = 3: half of it is 1.5, and torchvision rounds to the even 2.
    cut = Transform(MEAN, STD, crop=8, padding=2, flip=0.5).evaluate(raw)
    np.testing.assert_allclose(cut, [normalised(image[2:10, 2:10]) for image in raw], atol=TOLERANCE)


@pytest.mark.parametrize(("crop", "padding"), [(6, 0), (8, 2), (6, 1)])
def test_training_is_a_crop_of_the_zero_padded_image_and_a_flip(images, crop, padding):
    image = images(1, 8, 3)[0]
    transform = Transform(MEAN, STD, flip=0.5, crop=crop, padding=padding)
    n = 400
    results = np.asarray(transform.train(np.stack([image] * n), key=jr.key(1)))
    assert results.shape == (n, crop, crop, 3)
    explained = [draws(result, image, crop, padding) for result in results]
    assert all(len(found) == 1 for found in explained)
    tops, lefts, flips = np.array([found[0] for found in explained]).T
    places = 8 + 2 * padding - crop + 1
    for offsets in (tops, lefts):
        counts = np.bincount(offsets, minlength=places)
        # Uniform: each place expects n/places; five standard deviations of a binomial on either side.
        assert np.abs(counts - n / places).max() < 5 * np.sqrt(n / places)
    assert np.any(tops != lefts)
    assert abs(flips.mean() - 0.5) < 5 * 0.5 / np.sqrt(n)


def test_a_crop_reaches_every_place_of_an_oblong_image():
    image = np.random.default_rng(0).integers(0, 256, (6, 10, 3), dtype=np.uint8)
    results = Transform(MEAN, STD, crop=5).train(np.stack([image] * 200), key=jr.key(2))
    seen = {place[:2] for result in np.asarray(results) for place in draws(result, image, 5, 0)}
    assert seen == {(top, left) for top in range(2) for left in range(6)}


@pytest.mark.parametrize(("probability", "share"), [(0.0, 0.0), (1.0, 1.0), (0.2, 0.2)])
def test_the_flip_has_its_probability(images, probability, share):
    raw = np.repeat(images(1, 4, 3), 500, axis=0)
    results = np.asarray(Transform(MEAN, STD, flip=probability).train(raw, key=jr.key(0)))
    flipped = np.array([np.allclose(r, normalised(raw[0][:, ::-1]), atol=TOLERANCE) for r in results])
    assert abs(flipped.mean() - share) <= 5 * np.sqrt(share * (1 - share) / 500)


def test_same_key_same_answer_and_another_key_another(images):
    raw = images(5, 32, 3)
    train = jax.jit(lambda batch, key: cifar10.TRANSFORM.train(batch, key=key))
    first, again, other = train(raw, jr.key(3)), train(raw, jr.key(3)), train(raw, jr.key(4))
    np.testing.assert_array_equal(first, again)
    assert all(np.any(a != b) for a, b in zip(first, other, strict=True))
    np.testing.assert_allclose(first, cifar10.TRANSFORM.train(raw, key=jr.key(3)), atol=TOLERANCE)


def test_a_sample_does_not_depend_on_its_batch(images):
    transform, raw = cifar10.TRANSFORM, images(6, 32, 3)
    keys = jr.split(jr.key(5), 6)
    alone = [transform.train_sample(image, key=key) for image, key in zip(raw, keys, strict=True)]
    together = transform.train(raw, key=jr.key(5))
    np.testing.assert_allclose(together, alone, atol=TOLERANCE)
    strangers = np.array(images(6, 32, 3, seed=9))
    strangers[4] = raw[4]
    np.testing.assert_array_equal(transform.train(strangers, key=jr.key(5))[4], together[4])


def test_without_augmentation_training_is_evaluation_and_draws_nothing(images):
    assert not mnist.TRANSFORM.augments
    raw = images(2, 28, 1)
    np.testing.assert_array_equal(mnist.TRANSFORM.train(raw, key=jr.key(0)), mnist.TRANSFORM.evaluate(raw))
    program = str(jax.make_jaxpr(lambda b, k: mnist.TRANSFORM.train(b, key=k))(raw, jr.key(0)))
    assert "random" not in program
    assert cifar10.TRANSFORM.augments
    assert "random" in str(jax.make_jaxpr(lambda b, k: cifar10.TRANSFORM.train(b, key=k))(images(2, 32, 3), jr.key(0)))


def test_features_pass_unchanged():
    table = np.array([[1.5, -2.0], [3.25, 0.1]], np.float32)
    for result in (Transform().evaluate(table), Transform().train(table, key=jr.key(0))):
        assert result.dtype == jnp.float32
        np.testing.assert_array_equal(result, table)
    assert Transform().sample_shape((2,)) == (2,)


def test_the_sets_have_the_published_transforms():
    half = Transform((0.5,), (0.5,))
    assert half == mnist.TRANSFORM == fashion_mnist.TRANSFORM
    assert Transform((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010), 0.5, 32, 4) == cifar10.TRANSFORM
    assert Transform((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761), 0.5, 32, 4) == cifar100.TRANSFORM
    assert Transform((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 0.5, 56, 0) == tiny_imagenet.TRANSFORM
    assert tiny_imagenet.TRANSFORM.sample_shape((64, 64, 3)) == (56, 56, 3)
    ends = half.evaluate(np.array([0, 255], np.uint8).reshape(2, 1, 1, 1))
    np.testing.assert_array_equal(np.ravel(ends), [-1, 1])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mean": (0.5,), "std": (0.5, 0.5)}, r"one entry per channel each; got 1 and 2"),
        ({"mean": (0.5,), "std": (0.0,)}, r"`std` must be positive"),
        ({"mean": (0.5,), "std": (0.5,), "flip": 1.5}, r"`flip` must be a probability.*1.5"),
        ({"mean": (0.5,), "std": (0.5,), "crop": 0}, r"`crop` must be at least 1.*0"),
        ({"mean": (0.5,), "std": (0.5,), "padding": 2}, r"`padding` must be.*padding 2, crop None"),
        ({"mean": (0.5,), "std": (0.5,), "crop": 4, "padding": -1}, r"`padding` must be.*padding -1"),
        ({"flip": 0.5}, r"`flip` and `crop` are for images"),
    ],
)
def test_settings_that_contradict_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Transform(**settings)


def test_a_crop_must_fit_the_image():
    with pytest.raises(ValueError, match=r"crop 9 for 8 x 20 pixels"):
        Transform((0.5,), (0.5,), crop=9, padding=4).sample_shape((8, 20, 1))
