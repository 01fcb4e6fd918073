"""States that are kept from visit to visit: against one relaxation that is never interrupted."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hookean.algorithms import PC
from hookean.core.builders import decoder
from hookean.core.coordinates import ErrorCoordinates
from hookean.core.parameters import split
from hookean.inference import Newton
from hookean.inference.relax import relax
from hookean.tasks.kept_states import ROW, KeptStates

SOLVER = {"solver": Newton(iterations=2, halvings=3), "coordinates": ErrorCoordinates()}
#: Places of the samples of each batch: five are seen twice, in other company, the others never.
VISITS = ([2, 0], [1, 4], [0, 1], [4, 3], [3, 2])


@pytest.fixture
def stored(keys):
    network = decoder(2, 9, hidden=(5, 4, 6), activation=jnp.tanh, key=keys(0))
    return network, jax.random.normal(keys(1), (7, 9))


def learner(data, optimiser):
    return KeptStates(PC(**SOLVER, steps=1, optimiser=optimiser), lambda: {"x": data})


def uninterrupted(network, data, steps):
    states = eqx.filter_jit(relax)(network, {"x": data}, **SOLVER, steps=steps).states
    return {name: state for name, state in states.items() if name != "x"}


def test_visits_add_up_to_one_relaxation_of_each_sample(stored, key):
    """With weights at rest two visits of one step are two steps, whatever stood beside the sample."""
    network, data = stored
    kept = learner(data, optax.sgd(0.0))
    state, step = kept.init(network, key=key), eqx.filter_jit(kept.step)
    for visit in VISITS:
        rows = jnp.asarray(visit)
        state, info = step(state, {"x": data[rows], ROW: rows}, key=key)
        assert float(info.diverged) == 0
    never, once, twice = (uninterrupted(network, data, steps) for steps in (0, 1, 2))
    for name, states in state.memory.items():
        np.testing.assert_allclose(states[:5], twice[name][:5], atol=1e-12)
        np.testing.assert_allclose(states[5:], never[name][5:], atol=1e-12)
        assert float(jnp.abs(once[name][:5] - twice[name][:5]).max()) > 1e-3
    assert int(state.updates) == len(VISITS)


def test_samples_that_are_not_seen_keep_their_states_and_the_weights_learn_from_those_that_are(stored, key):
    network, data = stored
    kept = learner(data, optax.sgd(0.3))
    first, rows = kept.init(network, key=key), jnp.array([4, 1])
    state, info = eqx.filter_jit(kept.step)(first, {"x": data[rows], ROW: rows}, key=key)
    signal = eqx.filter_jit(kept.algorithm.signal)(network, {"x": data[rows]}, epoch=0, key=key)
    for name, value in info.energies.items():
        np.testing.assert_allclose(value, signal.energies[name], atol=1e-12)
    weights = [jax.tree.leaves(split(n)[0]) for n in (state.network, network)] + [jax.tree.leaves(signal.gradient)]
    for new, old, gradient in zip(*weights, strict=True):
        np.testing.assert_allclose(new, old - 0.3 * gradient, atol=1e-12)
    for name, states in state.memory.items():
        others = jnp.array([0, 2, 3, 5, 6])
        np.testing.assert_array_equal(states[others], first.memory[name][others])
        assert float(jnp.abs(states[rows] - first.memory[name][rows]).max()) > 1e-3
