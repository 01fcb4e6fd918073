"""States and errors are two views of one energy: the same points, the same settled states, the same learning."""

import equinox as eqx
import examples
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import close, flat, relaxed, settled

from hookean.core.builders import mlp
from hookean.core.clamp import Masked
from hookean.core.coordinates import ErrorCoordinates, StateCoordinates
from hookean.core.network import Network
from hookean.core.term import Coupling
from hookean.inference import Gradient
from hookean.learning.backprop import backprop
from hookean.learning.energy_gradient import energy_gradient, settled_gradient

CASES = [
    ("mlp", "train"),
    ("skip", "train"),
    ("sources", "train"),
    ("precisions", "train"),
    ("categorical", "train"),
    ("conv", "train"),
]


@pytest.mark.parametrize(("name", "mode"), CASES)
def test_errors_and_states_settle_together(name, mode):
    example = examples.build(name)
    clamps = example.modes[mode]
    given = {"solver": Gradient(0.1, 0.8), "steps": 1500}
    state = settled(example.network, clamps, **given, coordinates=StateCoordinates())
    error = settled(example.network, clamps, **given, coordinates=ErrorCoordinates())
    close(error[0].states, state[0].states, atol=1e-9)
    close(error[1:], state[1:], atol=1e-9)
    assert float(jnp.max(state[0].residual)) < 1e-9


def test_errors_and_states_settle_together_with_a_free_latent():
    """A prior on the latent, a term that is no prediction, keeps it from running into saturation."""
    decoder = examples.build("decoder")
    prior = Coupling("z", lambda z: 0.5 * jnp.sum(z**2))
    network = Network(decoder.network.shapes, decoder.network.terms | {"prior": prior})
    given = {"solver": Gradient(0.1, 0.8), "steps": 1500}
    state, error = (
        settled(network, decoder.train, **given, coordinates=c) for c in (StateCoordinates(), ErrorCoordinates())
    )
    close(error[0].states, state[0].states, atol=1e-9)
    close(error[1:], state[1:], atol=1e-9)
    assert float(jnp.abs(state[0].states["z"]).min()) > 1e-3


@pytest.mark.parametrize("name", ["mlp", "sources", "categorical"])
def test_first_step_of_the_errors_is_backpropagation_delta(name):
    """After one step from a forward start every error is -rate times the slope of the loss at the forward states."""
    example = examples.build(name)
    network, clamps = example.network, example.train
    end = relaxed(network, clamps, solver=Gradient(0.05), steps=1, coordinates=ErrorCoordinates())
    hidden = [n for n in network.shapes if n not in clamps]

    def slopes(sample):
        def loss(shifts):
            states = dict(sample)
            for term in network.term_list:
                if term.target not in sample:
                    states[term.target] = term.predict(states) + shifts[term.target]
            # Hidden errors are zero before the step, so that only the output's term has a slope.
            return network.terms["y"](states)

        return jax.grad(loss)({n: jnp.zeros(network.shapes[n]) for n in hidden})

    expected = jax.jit(jax.vmap(slopes))(dict(clamps))
    errors = jax.jit(jax.vmap(network.errors))(end.states)
    for name in hidden:
        np.testing.assert_allclose(errors[name], -0.05 * expected[name], atol=1e-14)


@pytest.mark.parametrize("name", ["mlp", "skip", "decoder", "categorical", "bernoulli"])
def test_variables_and_states_are_inverse(name, keys):
    example = examples.build(name)
    network = example.network
    clamps = {n: v[0] for n, v in example.train.items()}
    states = {n: jax.random.normal(keys(i), s) for i, (n, s) in enumerate(network.shapes.items())} | clamps
    for coordinates in (StateCoordinates(), ErrorCoordinates()):
        variables = coordinates.variables(network, states, clamps)
        assert set(variables) == set(network.shapes) - set(clamps)
        close(coordinates.states(network, variables, clamps), states, atol=1e-13)


def test_children_of_a_partly_held_source_see_the_held_values(mlp, keys):
    """Whatever a solver does to the held entries of a variable, the node and its child see the given values."""
    mask = jnp.arange(7) < 4
    clamps = {"x": Masked(mlp.train["x"][0], mask), "y": mlp.train["y"][0]}
    variables = {n: jax.random.normal(keys(i), s) for i, (n, s) in enumerate(mlp.network.shapes.items()) if n != "y"}
    states = ErrorCoordinates().states(mlp.network, variables, clamps)
    np.testing.assert_array_equal(states["x"], jnp.where(mask, mlp.train["x"][0], variables["x"]))
    for name in ("h1", "h2", "h3"):
        expected = mlp.network.terms[name].predict(states) + variables[name]
        np.testing.assert_allclose(states[name], expected, atol=1e-15)


@pytest.mark.parametrize("name", ["mlp", "skip", "sources", "conv", "categorical", "bernoulli", "precisions"])
def test_weights_learn_the_same_from_errors_as_from_states_and_predictions(name):
    """Learned precisions and outputs that are held included; every energy is the same number."""
    example = examples.build(name)
    end = relaxed(example.network, example.train, solver=Gradient(0.05), steps=3, coordinates=ErrorCoordinates())
    assert end.errors
    found, energies = settled_gradient(example.network, end)
    expected, by_term = energy_gradient(example.network, end.states)
    close(found, expected, atol=1e-12, rtol=1e-9)
    close(energies, by_term, atol=1e-12, rtol=1e-9)


def test_small_errors_keep_their_digits_in_single_precision():
    """Five steps of 0.00001 leave errors near the rounding of states, and in them the gradient of backpropagation."""
    network = mlp(6, 3, hidden=(32,) * 12, activation=jnp.tanh, key=jax.random.key(3))
    batch = {"x": examples.values(8, 6), "y": examples.one_hot(3)}
    exact = backprop(network, batch)[0]
    single, batch = (
        jax.tree.map(lambda leaf: leaf.astype(jnp.float32) if eqx.is_inexact_array(leaf) else leaf, tree)
        for tree in (network, batch)
    )
    end = relaxed(single, batch, solver=Gradient(1e-5), steps=5, coordinates=ErrorCoordinates())
    found, rounded = settled_gradient(single, end)[0], energy_gradient(single, end.states)[0]

    def least(gradient):
        pairs = [(flat(a), flat(b)) for a, b in zip(gradient.term_list, exact.term_list, strict=True)]
        return min(float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)) for a, b in pairs)

    assert least(found) > 0.9999
    assert least(rounded) < 0.99
