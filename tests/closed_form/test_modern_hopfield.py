"""Modern Hopfield networks: the update is attention and a gradient step of rate 1, and it never raises the energy."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hookean.classical import ModernHopfield
from hookean.classical.modern_hopfield import by_distance
from hookean.core.clamp import Masked
from hookean.inference import Gradient
from hookean.inference.relax import relax

SHAPES = [(7, 5, 3), (50, 100, 4), (33, 20, 2)]


def example(shape, key, dtype=float):
    count, units, batch = shape
    keys = jax.random.split(key)
    return jax.random.normal(keys[0], (count, units), dtype), jax.random.normal(keys[1], (batch, units), dtype)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64], ids=["single", "double"])
@pytest.mark.parametrize("shape", SHAPES)
def test_update_is_softmax_attention_to_the_last_bit(shape, dtype, key):
    X, queries = example(shape, key, dtype)
    found = jax.vmap(ModernHopfield(X, 0.7).update)(queries)
    np.testing.assert_array_equal(found, jax.nn.softmax(0.7 * (queries @ X.T), axis=-1) @ X)
    # The attention of JAX sums in another order, and takes its softmax in single precision.
    one_head = (X[:, None], X[:, None])
    attended = jax.nn.dot_product_attention(queries[:, None], *one_head, scale=0.7)[:, 0]
    np.testing.assert_allclose(found, attended, atol=4e-6)


@pytest.mark.parametrize("beta", [0.01, 0.3, 2.0, 30.0])
def test_update_is_a_gradient_step_of_rate_one_and_never_raises_the_energy(beta, key):
    X, queries = example((9, 6, 5), key)
    offsets = jax.random.normal(jax.random.fold_in(key, 5), (9,))
    memory = ModernHopfield(X, beta, offsets)
    nothing = {"s": Masked(queries, jnp.zeros(queries.shape, bool))}
    run = eqx.filter_jit(lambda steps: relax(memory.network(), nothing, solver=Gradient(1.0), steps=steps, record=True))
    np.testing.assert_allclose(run(1).states["s"], jax.vmap(memory.update)(queries), atol=1e-12)
    assert float(jnp.diff(run(12).trace.energies["memory"], axis=1).max()) < 1e-12


@pytest.mark.parametrize("beta", [0.05, 1.0, 20.0])
def test_energy_in_the_hull_lies_between_zero_and_twice_the_largest_square(beta, key):
    X, _ = example((8, 6, 1), key)
    mixtures = jax.random.dirichlet(key, jnp.ones(8), (40,)) @ X
    energies = jax.vmap(lambda s: ModernHopfield(X, beta)({"s": s}))(mixtures)
    assert float(energies.min()) >= 0
    assert float(energies.max()) <= 2 * float(jnp.sum(X**2, axis=1).max())


def test_limits_of_the_temperature(key):
    X, queries = example((9, 6, 5), key)
    cold = jax.vmap(ModernHopfield(X, 1e4).update)(queries)
    np.testing.assert_allclose(cold, X[jnp.argmax(queries @ X.T, axis=1)], atol=1e-9)
    near = jax.vmap(by_distance(X, 1e4).update)(queries)
    distance = np.sum((np.asarray(queries)[:, None] - np.asarray(X)) ** 2, axis=2)
    np.testing.assert_allclose(near, X[np.argmin(distance, axis=1)], atol=1e-9)
    hot = jax.vmap(ModernHopfield(X, 1e-9).update)(queries)
    np.testing.assert_allclose(hot, np.broadcast_to(X.mean(axis=0), hot.shape), atol=1e-7)


def test_comparing_known_entries_gives_the_conditional_mean_of_the_mixture(key):
    X, queries = example((6, 5, 3), key)
    known, beta = jnp.array([True, True, False, True, False]), 1.3
    found = jax.vmap(lambda s: by_distance(X, beta, known).update(s, known))(queries)
    square = (np.asarray(queries)[:, None] - np.asarray(X))[:, :, np.asarray(known)] ** 2
    weights = np.exp(-0.5 * beta * square.sum(axis=2))
    expected = (weights / weights.sum(axis=1, keepdims=True)) @ np.asarray(X)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_a_well_separated_pattern_is_found_in_one_update(key):
    X = jax.random.normal(key, (50, 100))
    X = jax.vmap(lambda x: 10 * x / jnp.linalg.norm(x))(X)
    start = X + 0.1 * jax.random.normal(jax.random.fold_in(key, 1), X.shape)
    found = jax.vmap(ModernHopfield(X, 0.5).update)(start)
    np.testing.assert_allclose(found, X, atol=1e-8)


def test_an_inverse_temperature_that_is_not_positive_is_refused(key):
    with pytest.raises(ValueError, match="beta must be a positive number"):
        ModernHopfield(example((3, 4, 1), key)[0], 0.0)
