"""The local rule written out by hand equals automatic differentiation of the energy."""

import equinox as eqx
import examples
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import dense_gradients

from hookean.core.activation import ACTIVATIONS
from hookean.core.density import Categorical, Gaussian
from hookean.core.lateral import DivisiveNormalisation, KWinners
from hookean.core.layers import Dense, identity
from hookean.core.network import Network
from hookean.core.precision import DiagonalPrecision, FullPrecision
from hookean.core.term import Prediction
from hookean.learning.energy_gradient import energy_gradient
from hookean.learning.hebbian import hebbian_step

PRECISIONS = [
    Gaussian(0.7),
    Gaussian(DiagonalPrecision(examples.DIAGONAL)),
    Gaussian(FullPrecision(examples.FULL)),
    None,
]
WIDTHS = {"x": 5, "a": 4, "b": 6, "c": 3, "y": 2}


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_hebbian_product_is_the_negative_gradient(activation, keys):
    phi = ACTIVATIONS[activation]
    names = list(WIDTHS)
    terms = [
        Prediction(target, source, Dense(WIDTHS[source], WIDTHS[target], phi, key=keys(i)), density)
        for i, (source, target, density) in enumerate(zip(names[:-1], names[1:], PRECISIONS, strict=True))
    ]
    network = Network(WIDTHS, terms)
    states = {name: jax.random.normal(keys(9 + i), (7, n)) for i, (name, n) in enumerate(WIDTHS.items())}
    gradient, _ = jax.jit(lambda: energy_gradient(network, states))()
    by_hand = jax.jit(lambda: [hebbian_step(network.terms[name], states) for name in network.term_names])()
    for (W, b), (dW, db) in zip(dense_gradients(network, gradient), by_hand, strict=True):
        np.testing.assert_allclose(dW, -W, atol=1e-12)
        np.testing.assert_allclose(db, -b, atol=1e-12)
        assert np.abs(dW).max() > 1e-3


@pytest.mark.parametrize("lateral", [KWinners(0.5), DivisiveNormalisation()])
def test_units_that_compete_and_read_an_image(lateral, keys):
    layer = Dense(6, 4, lateral.activation(jnp.tanh), key=keys(0))
    network = Network({"x": (2, 3, 1), "y": 4}, [Prediction("y", "x", layer, Gaussian(0.7))])
    states = {"x": jax.random.normal(keys(1), (7, 2, 3, 1)), "y": jax.random.normal(keys(2), (7, 4))}
    gradient, _ = energy_gradient(network, states)
    dW, db = hebbian_step(network.terms["y"], states)
    ((W, b),) = dense_gradients(network, gradient)
    np.testing.assert_allclose(dW, -W, atol=1e-12)
    np.testing.assert_allclose(db, -b, atol=1e-12)
    assert np.abs(dW).max() > 1e-3


def test_sign_by_hand():
    """A target above its prediction strengthens the synapse from an active source."""
    layer = Dense(1, 1, identity, key=jax.random.key(0))
    layer = eqx.tree_at(lambda d: (d.linear.weight, d.linear.bias), layer, (jnp.zeros((1, 1)), jnp.zeros(1)))
    states = {"x": jnp.array([[2.0], [1.0]]), "y": jnp.array([[3.0], [5.0]])}
    dW, db = hebbian_step(Prediction("y", "x", layer), states)
    np.testing.assert_allclose([dW[0, 0], db[0]], [5.5, 4.0], atol=1e-15)  # (3 * 2 + 5 * 1) / 2, (3 + 5) / 2


def test_other_terms_are_refused(key):
    term = Prediction("y", "x", Dense(2, 3, jnp.tanh, key=key), Categorical())
    with pytest.raises(TypeError, match="Gaussian density, got Dense and Categorical with 1 sources"):
        hebbian_step(term, {"x": jnp.ones((2, 2)), "y": jnp.ones((2, 3))})
