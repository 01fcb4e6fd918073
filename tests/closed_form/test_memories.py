"""Corrupted images, and the memories that need no training, against what is computed by hand."""

import jax
import jax.numpy as jnp
import numpy as np

from hookean.tasks.memories import CORRUPTIONS, hopfield, nearest


def test_corruptions_hide_what_they_say():
    images = jax.random.uniform(jax.random.key(0), (3, 6 * 6 * 2))
    shape = (3, 6, 6, 2)
    cues = {name: make(images, 6, 0.2, jax.random.key(1)) for name, make in CORRUPTIONS.items()}
    lower = np.ones(shape)
    lower[:, 3:] = 0
    centre = np.ones(shape)
    centre[:, 2:4, 2:4] = 0  # a side of 6 has no square of exactly half
    for name, mask in (("lower half", lower), ("centre", np.asarray(cues["centre"].held).reshape(shape))):
        np.testing.assert_array_equal(cues[name].held.reshape(shape), mask)
        np.testing.assert_array_equal(cues[name].values, mask.reshape(3, -1) * images)
    assert np.asarray(cues["centre"].held).reshape(shape)[:, 2:4, 2:4].sum() == 0
    assert np.asarray(cues["centre"].held).reshape(shape)[:, [0, -1]].min() == 1
    pixels = np.asarray(cues["pixels"].held).reshape(shape)
    np.testing.assert_array_equal(pixels[..., 0], pixels[..., 1])
    assert 0 < pixels.mean() < 0.3
    assert cues["noise"].seen.min() == 1
    assert cues["noise"].held.max() == 0
    guess = jnp.full_like(images, 1.5)
    missing = np.asarray(cues["lower half"].held) == 0
    filled = cues["lower half"].filled(guess)
    np.testing.assert_array_equal(filled, np.where(missing, 1.0, images))
    expected = [np.mean((1 - np.asarray(images[i])[missing[i]]) ** 2) for i in range(3)]
    np.testing.assert_allclose(cues["lower half"].error(filled, images), expected)


def test_the_hopfield_network_gives_the_posterior_mean_under_the_noise():
    """One step: the mean of the stored images, weighed by the likelihood of the noise on what is seen."""
    images = jax.random.uniform(jax.random.key(0), (5, 12))
    cues = CORRUPTIONS["noise"](images[:2], 2, 0.3, jax.random.key(1))
    cues = cues._replace(seen=cues.seen.at[0, 4:].set(0))
    ((_, guess),) = hopfield(images, beta=1 / 0.3**2, steps=1)(cues)
    for i, visible in enumerate((4, 12)):
        distances = np.sum((np.asarray(cues.values)[i, :visible] - np.asarray(images)[:, :visible]) ** 2, axis=1)
        weights = np.exp(-0.5 * distances / 0.3**2)
        np.testing.assert_allclose(guess[i], weights @ np.asarray(images) / weights.sum(), rtol=1e-10)
        ((_, found),) = nearest(images)(cues)
        np.testing.assert_allclose(found[i], images[np.argmin(distances)])
