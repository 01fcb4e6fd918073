"""Numbers worked out beforehand in NumPy on a 2-2-2-1 tanh network and on a scalar chain."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from examples import Example
from oracles import dense_gradients, settled, signal

from hookean.algorithms import BP, EPC, GN, PC, PCALM
from hookean.core.coordinates import ErrorCoordinates
from hookean.core.layers import Dense, identity
from hookean.core.network import Network
from hookean.core.term import Prediction
from hookean.inference import GaussNewton, Gradient

DIGITS = 6e-9  # the numbers are given to eight decimals


def dense(weights, activation):
    layer = Dense(len(weights[0]), len(weights), activation, key=jax.random.key(0))
    return eqx.tree_at(lambda d: (d.linear.weight, d.linear.bias), layer, (jnp.array(weights), jnp.zeros(len(weights))))


@pytest.fixture
def golden():
    terms = [
        Prediction("s1", "x", dense([[0.5, -0.3], [0.2, 0.8]], jnp.tanh)),
        Prediction("s2", "s1", dense([[0.4, 0.1], [-0.6, 0.7]], jnp.tanh)),
        Prediction("y", "s2", dense([[1.0, -0.5]], identity)),
    ]
    network = Network({"x": 2, "s1": 2, "s2": 2, "y": 1}, terms, input="x", output="y")
    # The same sample twice: the batch mean is the sample's own gradient.
    return network, {"x": jnp.array([[1.0, -1.0]] * 2), "y": jnp.array([[0.5]] * 2)}


def check(network, gradient, dW1, dW2, dW3, atol=DIGITS):
    for (actual, _), expected in zip(dense_gradients(network, gradient), (dW1, dW2, dW3), strict=True):
        np.testing.assert_allclose(actual, np.array(expected), atol=atol)


def test_forward_states(golden):
    network, clamps = golden
    states = network.forward({"x": clamps["x"][0]})
    np.testing.assert_allclose(states["s1"], [0.66403677, -0.53704957], atol=DIGITS)
    np.testing.assert_allclose(states["s2"], [0.20879372, -0.64945569], atol=DIGITS)
    np.testing.assert_allclose(states["y"], [0.53352157], atol=DIGITS)


def test_backpropagation(golden):
    network, clamps = golden
    found = signal(BP(), Example(network, {"train": clamps}))
    check(
        network,
        found.gradient,
        [[0.01042012, -0.01042012], [-0.0025459, 0.0025459]],
        [[0.02128915, -0.01721792], [-0.00643532, 0.00520466]],
        [[0.00699909, -0.02177077]],
    )


def test_three_steps_of_the_states(golden):
    network, clamps = golden
    found = signal(PC(Gradient(0.1), steps=3), Example(network, {"train": clamps}))
    states = found.relaxation.states
    for sample in range(2):
        np.testing.assert_allclose(states["s1"][sample], [0.6635435, -0.5369564], atol=DIGITS * 10)
        np.testing.assert_allclose(states["s2"][sample], [0.20082347, -0.64546604], atol=DIGITS)
    np.testing.assert_allclose(sum(found.energies.values()), 3.15072726e-4, atol=1e-12)
    check(
        network,
        found.gradient,
        [[0.00027576, -0.00027576], [-6.63e-5, 6.63e-5]],
        [[0.00494434, -0.00400108], [-0.00145123, 0.00117437]],
        [[0.0047307, -0.01520491]],
    )


def test_equilibrium(golden):
    network, clamps = golden
    found = signal(PC(Gradient(0.3), steps=1000), Example(network, {"train": clamps}))
    np.testing.assert_allclose(found.relaxation.states["s1"][1], [0.6567689, -0.53564167], atol=DIGITS * 10)
    np.testing.assert_allclose(found.relaxation.states["s2"][1], [0.19311386, -0.63983742], atol=DIGITS)
    np.testing.assert_allclose(sum(found.energies.values()), 2.18481094e-4, atol=1e-12)
    check(
        network,
        found.gradient,
        [[0.00406314, -0.00406314], [-0.00100183, 0.00100183]],
        [[0.00819565, -0.00668413], [-0.00249175, 0.0020322]],
        [[0.00251677, -0.00833873]],
    )


def test_two_steps_of_the_errors(golden):
    network, clamps = golden
    end, gradient, energies = settled(network, clamps, solver=Gradient(0.1), steps=2, coordinates=ErrorCoordinates())
    errors = jax.vmap(network.errors)(end.states)
    np.testing.assert_allclose(errors["s1"][0], [-0.00324981, 0.00062453], atol=DIGITS)
    np.testing.assert_allclose(errors["s2"][0], [-0.00584258, 0.00292129], atol=DIGITS)
    np.testing.assert_allclose(sum(energies.values()), 3.23109607e-4, atol=1e-12)
    check(
        network,
        gradient,
        [[0.00181682, -0.00181682], [-0.0004444, 0.0004444]],
        [[0.0036943, -0.00299902], [-0.0011196, 0.00090889]],
        [[0.00491169, -0.01570516]],
    )


def test_scalar_chain():
    """x = 1, W1 = 2, W2 = 3, y = 1: the output's error is r / S = -5 / 10, and the state 0.5."""
    terms = [Prediction("s", "x", dense([[2.0]], identity)), Prediction("y", "s", dense([[3.0]], identity))]
    network = Network({"x": 1, "s": 1, "y": 1}, terms, input="x", output="y")
    clamps = {"x": jnp.ones((2, 1)), "y": jnp.ones((2, 1))}
    found = signal(PC(Gradient(0.05), steps=300), Example(network, {"train": clamps}))
    np.testing.assert_allclose(found.relaxation.states["s"], [[0.5]] * 2, atol=1e-12)
    np.testing.assert_allclose(found.energies["s"] + found.energies["y"], 1.25, atol=1e-12)
    (dW1, _), (dW2, _) = dense_gradients(network, found.gradient)
    np.testing.assert_allclose(dW1, [[1.5]], atol=1e-12)  # -(-1.5) * 1
    np.testing.assert_allclose(dW2, [[0.25]], atol=1e-12)  # -(-0.5) * 0.5


def test_augmented_lagrangian(golden):
    """Six steps with eta 0.25, alpha and rho 1; the weights take the multipliers before their last step."""
    network, clamps = golden
    algorithm = PCALM(0.25, 1.0, 1.0, steps=6)
    found = signal(algorithm, Example(network, {"train": clamps}))
    np.testing.assert_allclose(found.states["s1"][0], [0.65997859, -0.53645282], atol=DIGITS)
    np.testing.assert_allclose(found.states["s2"][0], [0.20586712, -0.64618427], atol=DIGITS)
    _, multipliers = algorithm._relaxed(network, {name: value[0] for name, value in clamps.items()})
    np.testing.assert_allclose(multipliers["s1"], [-0.01860376, 0.00295511], atol=DIGITS)
    np.testing.assert_allclose(multipliers["s2"], [-0.03102609, 0.01383064], atol=DIGITS)
    check(
        network,
        found.gradient,
        [[0.01266928, -0.01266928], [-0.00252742, 0.00252742]],
        [[0.02050027, -0.01666331], [-0.00591749, 0.00480994]],
        [[0.00596176, -0.01871301]],
    )


def test_error_coding_divides_by_how_far_the_errors_moved(golden):
    network, clamps = golden
    found = signal(EPC(0.1, 2, safety=None), Example(network, {"train": clamps}))
    check(
        network,
        jax.tree.map(lambda leaf: 0.2 * leaf, found.gradient),
        [[0.00181682, -0.00181682], [-0.0004444, 0.0004444]],
        [[0.0036943, -0.00299902], [-0.0011196, 0.00090889]],
        [[0.00491169, -0.01570516]],
    )


def test_gauss_newton_at_the_golden_equilibrium(golden):
    network, clamps = golden
    found = signal(GN(GaussNewton(1), steps=30), Example(network, {"train": clamps}))
    np.testing.assert_allclose(found.relaxation.states["s1"][1], [0.6567689, -0.53564167], atol=DIGITS * 10)
    np.testing.assert_allclose(sum(found.energies.values()), 2.18481094e-4, atol=1e-12)
    once = settled(network, clamps, solver=GaussNewton(1), steps=1, coordinates=ErrorCoordinates())[0]
    # Linearised at the forward pass: S = 2.57055471, so that the output's error is r / S.
    predicted = 0.5 - np.asarray(jax.vmap(network.errors)(once.states)["y"])[0]
    np.testing.assert_allclose(0.5 - predicted, (0.5 - 0.53352157) / 2.57055471, rtol=0.01)
