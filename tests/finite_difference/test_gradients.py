"""Gradients of the energy against central differences, for every density and precision, in states and weights."""

import equinox as eqx
import examples
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import flat, relaxed

from hookean.core.coordinates import ErrorCoordinates, StateCoordinates
from hookean.core.density import Bernoulli, Categorical, Gaussian
from hookean.core.layers import Dense
from hookean.core.network import Network
from hookean.core.parameters import split
from hookean.core.precision import DiagonalPrecision, FullPrecision, ScalarPrecision
from hookean.core.term import Prediction
from hookean.inference import Gradient
from hookean.inference.objective import everywhere
from hookean.learning.backprop import backprop
from hookean.learning.energy_gradient import energy_gradient

STEP = 1e-5
DENSITIES = {
    "one": Gaussian(),
    "scalar": Gaussian(0.3),
    "scalar learned": Gaussian(ScalarPrecision(1.8, learned=True)),
    "diagonal": Gaussian(DiagonalPrecision(jnp.array([0.5, 2.0, 1.2]))),
    "diagonal learned": Gaussian(DiagonalPrecision(jnp.array([0.5, 2.0, 1.2]), learned=True)),
    "full": Gaussian(FullPrecision(examples.FULL)),
    "full learned": Gaussian(FullPrecision(examples.FULL, learned=True)),
    "categorical": Categorical(),
    "bernoulli": Bernoulli(),
}


def differences(function, tree):
    """Return the central differences of a scalar function in every entry of a tree, as one vector."""
    vector, rebuild = jax.flatten_util.ravel_pytree(tree)
    compiled = jax.jit(jax.vmap(lambda v: function(rebuild(v))))
    shifts = STEP * jnp.eye(vector.size)
    return np.asarray((compiled(vector[None] + shifts) - compiled(vector[None] - shifts)) / (2 * STEP))


def analytic(tree):
    return np.asarray(jax.flatten_util.ravel_pytree(tree)[0])


@pytest.fixture(params=DENSITIES)
def network(request, key):
    layer = Dense(2, 3, jnp.tanh, key=key)
    second = Dense(3, 3, jax.nn.gelu, key=jax.random.fold_in(key, 1))
    terms = [Prediction("h", "x", layer, Gaussian(0.8)), Prediction("y", "h", second, DENSITIES[request.param])]
    return Network({"x": 2, "h": 3, "y": 3}, terms, output="y")


@pytest.fixture
def states(keys):
    return {
        name: jax.random.uniform(keys(i + 2), (4, n), minval=-0.9, maxval=0.9)
        for i, (name, n) in enumerate({"x": 2, "h": 3, "y": 3}.items())
    }


def test_state_gradient(network, states):
    sample = {name: value[0] for name, value in states.items()}
    objective = everywhere(network, {}, StateCoordinates(), {}, frozenset(sample))
    gradient = objective.gradient(sample)
    np.testing.assert_allclose(analytic(gradient), differences(network.energy, sample), atol=1e-8)
    assert np.abs(analytic(gradient)).min() > 1e-6


def test_weight_gradient(network, states):
    trained, rest = split(network)

    def energy(trained):
        model = eqx.combine(trained, rest)
        return sum(model.energy({n: v[i] for n, v in states.items()}) for i in range(4)) / 4

    gradient, energies = energy_gradient(network, states)
    np.testing.assert_allclose(analytic(gradient), differences(energy, trained), atol=1e-8)
    np.testing.assert_allclose(sum(energies.values()), energy(trained), atol=1e-12)


def test_backpropagated_gradient(network, states):
    trained, rest = split(network)
    clamps = {"x": states["x"], "y": jnp.abs(states["y"])}

    def loss(trained):
        model = eqx.combine(trained, rest)
        total = 0.0
        for x, y in zip(*clamps.values(), strict=True):
            h = model.terms["h"].predict({"x": x})
            total = total + model.energy({"x": x, "h": h, "y": y})
        return total / 4

    np.testing.assert_allclose(analytic(backprop(network, clamps)[0]), differences(loss, trained), atol=1e-8)


def test_error_gradient(network, states):
    sample = {name: value[0] for name, value in states.items()}
    clamps = {"x": sample["x"], "y": sample["y"]}
    objective = everywhere(network, clamps, ErrorCoordinates(), {}, frozenset({"h"}))

    def energy(errors):
        return network.energy(sample | {"h": network.terms["h"].predict(sample) + errors["h"]})

    errors = {"h": jnp.array([0.3, -0.2, 0.4])}
    np.testing.assert_allclose(analytic(objective.gradient(errors)), differences(energy, errors), atol=1e-8)


@pytest.mark.parametrize("name", ["mlp", "precisions"])
def test_gradient_at_the_settled_states_is_that_of_the_settled_energy(name, keys):
    """The envelope theorem: dE*/dW = dE/dW where dE/dx = 0, although x* depends on W."""
    example = examples.build(name)
    network, clamps = example.network, example.train
    trained, rest = split(network)
    solver = Gradient(0.1, 0.7)

    def settled_energy(model):
        end = relaxed(model, clamps, solver=solver, steps=1500)
        return end.states, jnp.mean(jax.vmap(model.energy)(end.states))

    states, _ = settled_energy(network)
    gradient = flat(energy_gradient(network, states)[0])
    vector, rebuild = jax.flatten_util.ravel_pytree(trained)
    for i in range(3):
        direction = jax.random.normal(keys(i), vector.shape)
        up, down = (settled_energy(eqx.combine(rebuild(vector + s * direction), rest))[1] for s in (1e-5, -1e-5))
        expected = (up - down) / 2e-5
        assert abs(expected) > 1e-2
        np.testing.assert_allclose(gradient @ np.asarray(direction), expected, atol=1e-6)


def test_learned_precision_rests_where_it_equals_the_inverse_of_the_mean_square():
    """dE/dlog(pi) = (pi eps^2 - 1) / 2 for each unit."""
    error = np.array([0.5, -2.0, 1.0])
    for value in ([4.0, 0.25, 1.0], [1.0, 1.0, 3.0]):
        density = Gaussian(DiagonalPrecision(jnp.array(value), learned=True))
        gradient = eqx.filter_grad(lambda d: d.energy(jnp.array(error), jnp.zeros(3)))(density)
        np.testing.assert_allclose(gradient.precision.value, (np.array(value) * error**2 - 1) / 2, atol=1e-14)
