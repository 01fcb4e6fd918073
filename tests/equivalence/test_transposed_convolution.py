"""The transposed convolution against its definition, and the two halves of an autoencoder against each other."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import flat

from hookean.core.builders import autoencoder, decoder
from hookean.core.layers import Convolution, HalvingConvolution, TransposedConvolution
from hookean.core.parameters import count_parameters
from hookean.learning.backprop import backprop


@pytest.mark.parametrize("kernel", [3, 4, 7])
def test_transposed_convolution_is_the_convolution_of_an_image_with_zeros(kernel, keys):
    layer = TransposedConvolution(3, 2, jnp.tanh, kernel=kernel, key=keys(0))
    state = np.asarray(jax.random.normal(keys(1), (4, 5, 3)))
    spread = np.zeros((8 + 2 * kernel, 10 + 2 * kernel, 3))
    spread[kernel : kernel + 8 : 2, kernel : kernel + 10 : 2] = state
    expected = np.zeros((8, 10, 2))
    for row, column in np.ndindex(8, 10):
        place = (row + kernel - kernel // 2, column + kernel - kernel // 2)
        window = spread[place[0] : place[0] + kernel, place[1] : place[1] + kernel]
        expected[row, column] = np.einsum("abc,abcd->d", window, np.asarray(layer.weight))
    np.testing.assert_allclose(
        eqx.filter_jit(layer)(jnp.asarray(state)), np.tanh(expected + np.asarray(layer.bias)), atol=1e-12
    )


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (Convolution, {"padding": 1, "pool": True}),
        (HalvingConvolution, {"kernel": 4}),
        (TransposedConvolution, {"kernel": 3}),
    ],
)
def test_convolutions_read_images_of_single_precision(kind, options, keys):
    """Data are float32, the weights of a run in double precision are not: nothing is rounded to the narrower one."""
    layer = kind(2, 3, jnp.tanh, **options, key=keys(0))
    image = jax.random.normal(keys(1), (8, 6, 2)).astype(jnp.float32)
    np.testing.assert_array_equal(layer(image), layer(image.astype(float)))
    assert layer(image).dtype == layer.weight.dtype == float


@pytest.mark.parametrize("kernel", [3, 4, 7])
def test_halving_convolution_reads_a_window_around_every_second_pixel(kernel, keys):
    layer = HalvingConvolution(2, 3, jnp.tanh, kernel=kernel, key=keys(0))
    image = np.asarray(jax.random.normal(keys(1), (8, 6, 2)))
    before = (kernel - 1) // 2
    padded = np.pad(image, ((before, kernel), (before, kernel), (0, 0)))
    expected = np.zeros((4, 3, 3))
    for row, column in np.ndindex(4, 3):
        window = padded[2 * row : 2 * row + kernel, 2 * column : 2 * column + kernel]
        expected[row, column] = np.einsum("abc,abcd->d", window, np.asarray(layer.weight))
    np.testing.assert_allclose(
        eqx.filter_jit(layer)(jnp.asarray(image)), np.tanh(expected + np.asarray(layer.bias)), atol=1e-12
    )


@pytest.mark.parametrize(
    ("latent", "outputs", "hidden"), [(3, (4, 2, 1), (6, 5)), ((1, 2, 3), (8, 16, 2), (5, 4))], ids=["dense", "image"]
)
def test_the_lower_half_of_an_autoencoder_is_a_decoder(latent, outputs, hidden, keys):
    options = {"hidden": hidden, "activation": jnp.tanh, "kernel": 3}
    network = eqx.filter_jit(autoencoder)(latent, outputs, **options, key=keys(0))
    alone = eqx.filter_jit(decoder)(latent, outputs, **options, key=jax.random.split(keys(0))[1])
    x = jax.random.normal(keys(1), outputs)
    forward = eqx.filter_jit(lambda network, clamps: network.forward(clamps))
    states = forward(network, {"x": x})
    np.testing.assert_allclose(states["y"], forward(alone, {"z": states["z"]})["x"], atol=1e-14)
    assert states["y"].shape == x.shape
    assert float(jnp.abs(states["z"] - forward(network, {"x": 2 * x})["z"]).max()) > 1e-6
    gradient, energies = eqx.filter_jit(backprop)(network, {"x": x[None], "y": x[None]})
    assert set(energies) == {"e1", "e2", "z", "h1", "h2", "y"}
    np.testing.assert_allclose(energies["y"], 0.5 * np.sum((x - states["y"]) ** 2), rtol=1e-12)
    assert all(np.abs(flat([leaf])).max() > 0 for leaf in jax.tree.leaves(gradient))


def test_parameters_of_the_published_image_autoencoders():
    def count(build, *arguments, **options):
        return count_parameters(build(*arguments, **options, key=jax.random.key(0)))

    assert count(autoencoder, 64, 784) == 251_216
    assert count(autoencoder, 64, 784, hidden=(68, 68)) == 125_696  # the decoder alone has 125,968
    assert count(autoencoder, (4, 4, 8), (32, 32, 3), hidden=(8, 5), kernel=7) == 11_699
    assert count(autoencoder, (4, 4, 8), (32, 32, 3), hidden=(4, 4), kernel=7) == 5_907  # the decoder alone has 5,847
