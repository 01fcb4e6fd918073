"""Graded Hopfield networks: Hopfield's equation, the energy that it descends, and the binary limit."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hookean.classical import Hopfield, HopfieldFlow, graded_hopfield, hebbian
from hookean.classical.symmetric import Symmetric
from hookean.core.clamp import Masked
from hookean.core.initialise import Given
from hookean.inference import Gradient
from hookean.inference.relax import relax

UNITS, GAIN = 11, 1.7


def coupling(key, units=UNITS):
    weight = jax.random.normal(key, (units, units))
    weight = (weight + weight.T) / jnp.sqrt(2.0)
    bias = jax.random.normal(jax.random.fold_in(key, 1), (units,))
    return Symmetric(weight - jnp.diag(jnp.diag(weight)), bias)


def free(network, start, **options):
    """Relax without a clamp: nothing is known, and the start is given."""
    nothing = {"s": Masked(start, jnp.zeros(start.shape, bool))}
    return relax(network, nothing, initial=Given({}), savings=False, **options)


def test_gradient_is_the_slope_times_the_equation_of_motion(keys):
    term = coupling(keys(0))
    network = graded_hopfield(term, gain=GAIN)
    u = 2 * jax.random.normal(keys(1), (UNITS,))
    V = jnp.tanh(GAIN * u)
    velocity = term.couplings() @ V + term.bias - u
    gradient = jax.grad(lambda u: network.energy({"s": u}))(u)
    np.testing.assert_allclose(gradient, -GAIN * (1 - V**2) * velocity, atol=1e-12)
    # The energy of the source, with the integral of the inverse output written out.
    inverse = V * jnp.arctanh(V) + 0.5 * jnp.log(1 - V**2)
    written = -0.5 * V @ term.couplings() @ V - term.bias @ V + inverse.sum() / GAIN
    np.testing.assert_allclose(network.energy({"s": u}), written, atol=1e-12)
    h = 1e-6
    ahead, behind = (network.energy({"s": u + d * velocity}) for d in (h, -h))
    np.testing.assert_allclose((ahead - behind) / (2 * h), -jnp.sum(GAIN * (1 - V**2) * velocity**2), rtol=1e-7)


@pytest.mark.parametrize("solver", [HopfieldFlow(0.05, GAIN), Gradient(0.02)], ids=["flow", "gradient"])
def test_energy_never_rises_on_the_way_to_a_fixed_point(solver, keys):
    term = coupling(keys(0))
    start = jax.random.normal(keys(2), (3, UNITS))
    found = eqx.filter_jit(free)(graded_hopfield(term, gain=GAIN), start, solver=solver, steps=3000, record=True)
    energies = found.trace.energies["memory"]
    assert float(jnp.diff(energies, axis=1).max()) < 1e-12
    assert float((energies[:, -1] - energies[:, 0]).max()) < -1
    u = np.asarray(found.states["s"])
    moved = np.tanh(GAIN * u) @ np.asarray(term.couplings()) + np.asarray(term.bias) - u
    # Under the plain gradient saturated units crawl, for their slope is nearly zero: only the flow arrives.
    if isinstance(solver, HopfieldFlow):
        assert float(np.abs(moved).max()) < 1e-10


def test_high_gain_ends_in_a_minimum_of_the_binary_energy(keys):
    term = coupling(keys(0))
    start = 0.1 * jax.random.normal(keys(3), (4, UNITS))
    found = eqx.filter_jit(free)(graded_hopfield(term, gain=40.0), start, solver=HopfieldFlow(0.05, 40.0), steps=800)
    signs = jnp.sign(found.states["s"])
    assert bool(jax.vmap(Hopfield(term).stable)(signs).all())


def test_half_a_pattern_recalls_the_other_half(keys):
    X = jnp.where(jax.random.bernoulli(keys(4), 0.5, (3, 60)), 1.0, -1.0)
    known = jnp.broadcast_to(jnp.arange(60) < 30, X.shape)
    cue = {"s": Masked(jnp.where(known, X, 0.0), known)}
    network = graded_hopfield(Symmetric(hebbian(X)), gain=4.0)
    found = relax(network, cue, solver=HopfieldFlow(0.1, 4.0), steps=100)
    np.testing.assert_array_equal(jnp.sign(found.states["s"]), X)
