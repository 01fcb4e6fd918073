"""Truncated Newton: quadratic energies in one step, cyclic networks to the energy of many small gradient steps."""

import equinox as eqx
import examples
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import close, relaxed

from hookean import Coupling, Network, Prediction
from hookean.core.initialise import Given, Zero
from hookean.core.layers import Dense, identity
from hookean.inference import Gradient, Newton


def cyclic():
    """Return a linear network with a cycle: its energy is quadratic, in 8 free states."""
    terms = [
        Prediction("a", ("x", "b"), lambda x, b: 0.4 * x + 0.3 * jnp.roll(b, 1)),
        Prediction("b", "a", lambda a: -0.7 * a[::-1]),
        Prediction("y", "b", lambda b: b[:2] + b[2:]),
    ]
    network = Network({"x": 4, "a": 4, "b": 4, "y": 2}, terms, input="x", output="y")
    return network, {"x": examples.values(1, 4), "y": examples.values(2, 2)}


def test_a_quadratic_energy_is_met_in_one_step():
    network, clamps = cyclic()
    end = relaxed(network, clamps, solver=Newton(iterations=8), steps=1, initial=Zero())
    assert float(end.residual.max()) < 1e-10
    short = relaxed(network, clamps, solver=Newton(iterations=2), steps=1, initial=Zero())
    assert float(short.residual.min()) > 1e-4


def test_its_minimum_solves_the_normal_equations():
    """Against a dense solution: free states z with dE/dz = 0, where E is a sum of squares linear in z."""
    network, clamps = cyclic()
    end = relaxed(network, clamps, solver=Newton(8), steps=1, initial=Zero()).states

    def errors(free, sample):
        states = sample | {"a": free[:4], "b": free[4:]}
        return jnp.concatenate(list(network.errors(states).values()))

    for i in range(examples.BATCH):
        sample = {name: jnp.asarray(value[i]) for name, value in clamps.items()}
        matrix = jax.jacobian(errors)(jnp.zeros(8), sample)
        free = np.linalg.lstsq(np.asarray(matrix), -np.asarray(errors(jnp.zeros(8), sample)), rcond=None)[0]
        np.testing.assert_allclose(np.concatenate([end["a"][i], end["b"][i]]), free, atol=1e-10)


@pytest.mark.parametrize("name", ["cycle", "hopfield", "bidirectional", "lateral", "precisions", "categorical"])
def test_it_reaches_the_energy_of_many_gradient_steps(name):
    example = examples.build(name)
    given = {"initial": example.initial}
    slow = relaxed(example.network, example.train, solver=Gradient(0.1), steps=20_000, unroll=False, **given)
    fast = relaxed(example.network, example.train, solver=Newton(iterations=12), steps=12, unroll=False, **given)
    assert float(fast.residual.max()) < 1e-6
    energy = eqx.filter_jit(eqx.filter_vmap(example.network.energy))
    assert np.all(np.asarray(energy(fast.states)) <= np.asarray(energy(slow.states)) + 1e-8)
    if name != "hopfield":  # its couplings have several minima, and Newton ends in a lower one
        close(energy(fast.states), energy(slow.states), atol=1e-6)


def alone(energy, begin, **settings):
    """Return the state that a relaxation of one free unit ends in; the clamped one only gives the batch."""
    network = Network({"s": 1, "u": 1}, {"valley": Coupling(("s", "u"), lambda s, u: energy(s[0]) + 0 * u[0])})
    first = Given({"s": jnp.array([[begin]])})
    return float(relaxed(network, {"u": jnp.zeros((1, 1))}, initial=first, **settings).states["s"][0, 0])


def test_negative_curvature_is_left_downhill():
    """On E = (s^2 - 1)^2 / 4 the Hessian near zero is negative; steps still go to the minima at 1 and -1."""

    def well(s):
        return (s**2 - 1) ** 2 / 4

    assert alone(well, 0.1, solver=Newton(), steps=1) == pytest.approx(0.1 + 0.099)
    assert alone(well, -0.2, solver=Newton(), steps=1) == pytest.approx(-0.2 - 0.192)
    assert alone(well, 0.1, solver=Newton(), steps=12) == pytest.approx(1, abs=1e-6)
    assert alone(well, -0.2, solver=Newton(), steps=12) == pytest.approx(-1, abs=1e-6)


def test_a_step_that_would_raise_the_energy_is_halved():
    """On E = log cosh(4 s) / 4 a full Newton step from 1 lands beyond -100."""

    def valley(s):
        return jnp.logaddexp(4 * s, -4 * s) / 4

    assert abs(alone(valley, 1.0, solver=Newton(), steps=1)) < 1
    assert abs(alone(valley, 1.0, solver=Newton(), steps=20)) < 1e-6
    assert alone(valley, 1.0, solver=Newton(halvings=0), steps=1) == 1.0  # a step that raises the energy is not taken


def test_a_wide_linear_layer():
    """One conjugate-gradient iteration is an exact line search along the gradient."""
    network = Network({"z": 3, "x": 5}, {"x": Prediction("x", "z", Dense(3, 5, identity, key=jax.random.key(0)))})
    clamps = {"x": examples.values(3, 5)}
    end = relaxed(network, clamps, solver=Newton(iterations=1), steps=1, initial=Zero()).states["z"]
    weight, bias = network.terms["x"].function.linear.weight, network.terms["x"].function.linear.bias
    for i in range(examples.BATCH):
        downhill = np.asarray(weight.T @ (clamps["x"][i] - bias))
        length = downhill @ downhill / np.sum(np.square(weight @ downhill))
        np.testing.assert_allclose(end[i], length * downhill, atol=1e-12)
