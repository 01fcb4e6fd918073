"""Numbers of trained parameters of the published networks, and what their blocks do to an image."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hookean.core.builders import decoder, mlp, vgg5, vgg7
from hookean.core.density import Gaussian
from hookean.core.layers import Convolution, TransposedConvolution, identity, max_pool
from hookean.core.network import Network
from hookean.core.parameters import count_parameters, split
from hookean.core.precision import DiagonalPrecision, FullPrecision, ScalarPrecision
from hookean.core.term import Prediction


def counted(build, *shape, **given):
    """Count on shapes alone: nothing is drawn."""
    network = eqx.filter_eval_shape(lambda key: build(*shape, key=key, **given), jax.random.key(0))
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(network) if hasattr(leaf, "shape"))


def test_multilayer_perceptron_of_the_benchmark():
    assert count_parameters(mlp(784, 10, key=jax.random.key(0))) == 134_794


def test_decoder_of_the_benchmark():
    assert count_parameters(decoder(64, 784, key=jax.random.key(0))) == 125_968


@pytest.mark.parametrize(("build", "parameters"), [(vgg5, 3_859_210), (vgg7, 4_581_514)])
def test_vgg_of_the_benchmark(build, parameters):
    assert counted(build, (32, 32, 3), 10) == parameters


@pytest.mark.parametrize(("kernel", "parameters"), [(3, 1087), (4, 1920), (5, 2991), (7, 5847)])
def test_deconvolutional_decoder(kernel, parameters):
    network = decoder((4, 4, 8), (32, 32, 3), hidden=(8, 5), kernel=kernel, key=jax.random.key(0))
    assert count_parameters(network) == parameters
    assert network.shapes == {"z": (4, 4, 8), "h1": (8, 8, 8), "h2": (16, 16, 5), "x": (32, 32, 3)}


def test_fixed_precisions_are_not_trained_and_learned_ones_are():
    def network(density):
        layer = eqx.nn.Linear(3, 2, key=jax.random.key(0))
        return Network({"x": 3, "y": 2}, [Prediction("y", "x", layer, density)])

    two = jnp.array([0.5, 2.0])
    assert count_parameters(network(Gaussian(3.0))) == 8
    for precision, extra in ((DiagonalPrecision, 2), (FullPrecision, 4)):
        given = two if extra == 2 else jnp.diag(two)
        assert count_parameters(network(Gaussian(precision(given)))) == 8
        assert count_parameters(network(Gaussian(precision(given, learned=True)))) == 8 + extra
    assert count_parameters(network(Gaussian(ScalarPrecision(3.0, learned=True)))) == 9
    trained, rest = split(network(Gaussian(DiagonalPrecision(two))))
    assert len(jax.tree.leaves(trained)) == 2
    assert any(eqx.is_array(leaf) and leaf.tolist() == [0.5, 2.0] for leaf in jax.tree.leaves(rest))


def test_max_pool_of_an_image_by_hand():
    image = jnp.array([[1.0, 5.0, 9.0], [4.0, 2.0, 9.0], [0.0, -1.0, 9.0], [-3.0, -2.0, 9.0], [9.0, 9.0, 9.0]])
    np.testing.assert_array_equal(max_pool(image[:, :, None])[:, :, 0], [[5.0], [0.0]])


@pytest.mark.parametrize("padding", [0, 1])
def test_convolution_of_an_image_by_hand(padding):
    layer = Convolution(2, 3, jnp.tanh, padding=padding, pool=False, key=jax.random.key(1))
    image = np.asarray(jax.random.normal(jax.random.key(2), (5, 4, 2)))
    padded = np.pad(image, ((padding, padding), (padding, padding), (0, 0)))
    height, width = padded.shape[0] - 2, padded.shape[1] - 2
    expected = np.zeros((height, width, 3))
    for i in range(height):
        for j in range(width):
            expected[i, j] = np.tensordot(padded[i : i + 3, j : j + 3], np.asarray(layer.weight), 3) + layer.bias
    np.testing.assert_allclose(layer(jnp.array(image)), np.tanh(expected), atol=1e-13)


@pytest.mark.parametrize("kernel", [2, 3, 4, 5])
def test_transposed_convolution_of_an_image_doubles_it(kernel):
    """Each pixel of the output collects a kernel over the image with zeros between its pixels."""
    layer = TransposedConvolution(2, 3, identity, kernel=kernel, key=jax.random.key(1))
    image = np.asarray(jax.random.normal(jax.random.key(2), (3, 4, 2)))
    spread = np.zeros((2 * 3 - 1, 2 * 4 - 1, 2))
    spread[::2, ::2] = image
    before = kernel // 2
    padded = np.pad(spread, ((before, kernel - before), (before, kernel - before), (0, 0)))
    expected = np.zeros((6, 8, 3))
    for i in range(6):
        for j in range(8):
            window = padded[i : i + kernel, j : j + kernel]
            expected[i, j] = np.tensordot(window, np.asarray(layer.weight), 3) + layer.bias
    np.testing.assert_allclose(layer(jnp.array(image)), expected, atol=1e-13)


@pytest.mark.parametrize(("build", "blocks"), [(vgg5, 4), (vgg7, 6)])
def test_narrow_vgg_runs_on_an_image(build, blocks):
    network = build((32, 32, 1), 4, width=1 / 64, key=jax.random.key(0))
    assert list(network.shapes) == ["x", *(f"h{i + 1}" for i in range(blocks)), "y"]
    out = network.forward({"x": jnp.ones((32, 32, 1))})["y"]
    assert out.shape == (4,)
    assert bool(jnp.all(jnp.isfinite(out)))
