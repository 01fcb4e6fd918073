"""What the relaxation leaves out changes nothing: against plain descent of all terms, for every network and clamp."""

import equinox as eqx
import examples
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from oracles import close, descend, free_gradient, relaxed, settled, size, start, weight_gradient

from hookean.core.builders import mlp
from hookean.core.initialise import Given, Zero
from hookean.inference import Gradient, Optax
from hookean.learning.energy_gradient import energy_gradient

RATE = 0.07
STEPS = 10
EXACT = 1e-13


@eqx.filter_jit
def plain(network, clamps, states):
    """Return (states, gradient norm, weight gradient, energies) after 0, 1, ..., STEPS steps of plain descent."""
    path = descend(network, clamps, states, rate=RATE, steps=STEPS)

    def at(states):
        norms = eqx.filter_vmap(lambda c, s: size(free_gradient(network, c, s)))(clamps, states)
        energies = {n: jnp.mean(e) for n, e in jax.vmap(network.energies)(states).items()}
        return norms, weight_gradient(network, states), energies

    return path, *jax.vmap(at)(path)


@pytest.mark.parametrize(("name", "mode"), examples.CASES)
def test_savings_change_nothing(name, mode):
    """While the error spreads, when it has arrived, and long after; and once with everything evaluated.

    Against plain descent: states, weight gradient, energies and residual.
    """
    example = examples.build(name)
    network, clamps = example.network, dict(example.modes[mode])
    path, norms, gradients, energies = plain(network, clamps, start(example, clamps))
    for steps, savings in ((1, True), (2, True), (3, True), (STEPS, True), (2, False)):
        given = {"solver": Gradient(RATE), "initial": example.initial, "savings": savings}
        end, gradient, found = settled(network, clamps, steps=steps, unroll=steps < STEPS, **given)
        close(end.states, {n: path[n][steps] for n in end.states}, atol=EXACT)
        close(gradient, jax.tree.map(lambda g, t=steps: g[t], gradients), atol=EXACT)
        close(found, {n: energies[n][steps] for n in found}, atol=EXACT)
        # From a start at rest, up to rounding, a relative residual says nothing.
        begun = np.asarray(norms[0]) > 1e-12
        np.testing.assert_allclose((end.residual * norms[0])[begun], norms[steps][begun], atol=EXACT)
        assert savings or not end.untouched


def test_untouched_terms_are_those_that_no_error_has_reached(mlp):
    """Three hidden nodes: the error needs as many steps to move h1, and x -> h1 then has one."""
    expected = {0: {"h1", "h2", "h3"}, 1: {"h1", "h2"}, 2: {"h1"}, 3: set(), 4: set()}
    for steps, names in expected.items():
        end = relaxed(mlp.network, mlp.train, solver=Gradient(RATE), steps=steps)
        assert end.untouched == names
        moved = jax.vmap(mlp.network.errors)(end.states)
        assert {n for n in ("h1", "h2", "h3") if float(jnp.abs(moved[n]).max()) < 1e-15} == names


def test_constant_predictions_are_those_of_clamped_sources_only():
    sources = examples.build("sources")
    both = relaxed(sources.network, sources.train, solver=Gradient(RATE), steps=1)
    assert set(both.constants) == {"a"}
    partial = relaxed(sources.network, sources.modes["partial"], solver=Gradient(RATE), steps=1)
    assert not partial.constants
    mlp = examples.build("mlp")
    assert not relaxed(mlp.network, mlp.modes["recall"], solver=Gradient(RATE), steps=1).constants


@pytest.mark.parametrize("name", ["mlp", "cycle", "conv"])
def test_unrolled_is_scanned(name):
    example = examples.build(name)
    for savings in (True, False):
        given = {"solver": Gradient(RATE, 0.5), "steps": 6, "initial": example.initial, "savings": savings}
        written = settled(example.network, example.train, unroll=True, **given)
        looped = settled(example.network, example.train, unroll=False, **given)
        close(looped, written, atol=EXACT)


@pytest.mark.parametrize(("name", "unroll"), [("mlp", True), ("categorical", False), ("precisions", True)])
def test_recording_changes_nothing_and_is_the_same_with_and_without_savings(name, unroll):
    example = examples.build(name)
    given = {"solver": Gradient(RATE), "steps": 6, "unroll": unroll}
    silent = relaxed(example.network, example.train, **given)
    recorded = relaxed(example.network, example.train, record=True, **given)
    plain = relaxed(example.network, example.train, record=True, savings=False, **given)
    assert silent.trace is None
    close(recorded.states, silent.states, atol=0)
    close(recorded.residual, silent.residual, atol=EXACT)
    close(recorded.trace, plain.trace, atol=EXACT)


def test_momentum_and_adaptive_rules_may_be_saved_too(mlp):
    for solver in (Gradient(RATE, 0.9), Gradient(RATE, 0.9, True), Optax(optax.adam(0.05))):
        assert solver.rests
        on, off = (settled(mlp.network, mlp.train, solver=solver, steps=7, savings=s) for s in (True, False))
        close(on[0].states, off[0].states, atol=EXACT)
        close(on[1:], off[1:], atol=EXACT)


def test_rules_that_do_not_rest_are_not_saved(mlp):
    """Weight decay moves every state from the first step on, although no error has reached it."""
    decay = Optax(optax.chain(optax.add_decayed_weights(0.3), optax.sgd(RATE)))
    noise = Optax(optax.chain(optax.add_noise(0.1, 0.5, jax.random.key(1)), optax.sgd(RATE)))
    assert not decay.rests
    assert not noise.rests
    end = relaxed(mlp.network, mlp.train, solver=decay, steps=2)
    assert not end.untouched

    def one(states):
        gradient = free_gradient(mlp.network, {"x": states["x"], "y": states["y"]}, states)
        return states | {n: states[n] - RATE * (g + 0.3 * states[n]) for n, g in gradient.items()}

    states = start(mlp, mlp.train)
    for _ in range(2):
        states = jax.jit(jax.vmap(one))(states)
    close(end.states, {n: states[n] for n in end.states}, atol=EXACT)
    noisy = relaxed(mlp.network, mlp.train, solver=noise, steps=1)
    assert float(jnp.abs(noisy.states["h1"] - start(mlp, mlp.train)["h1"]).min()) > 0


def test_other_starts_have_nothing_at_rest(mlp, keys):
    for initial in (Zero(), Given({"h2": jax.random.normal(keys(0), (3, 5))})):
        states = eqx.filter_vmap(lambda c, i: i(mlp.network, c, key=keys(1)))(dict(mlp.train), initial)
        path = jax.jit(lambda s: descend(mlp.network, mlp.train, s, rate=RATE, steps=2))(states)
        end = relaxed(mlp.network, mlp.train, solver=Gradient(RATE), steps=2, initial=initial)
        close(end.states, {n: path[n][2] for n in end.states}, atol=EXACT)


def test_gradient_of_all_terms_is_that_of_the_touched_ones(mlp):
    end, gradient, _ = settled(mlp.network, mlp.train, solver=Gradient(RATE), steps=2)
    close(gradient, jax.jit(lambda: energy_gradient(mlp.network, end.states))()[0], atol=EXACT)


@pytest.mark.parametrize("steps", [30, 50])
def test_savings_change_nothing_where_the_error_spreads_over_many_steps(steps):
    """A chain of 40 layers: the steps of the spreading error share objectives, block by block, and then go on."""
    network = mlp(4, 3, hidden=(5,) * 39, activation=jnp.tanh, orthogonal=1.2, key=jax.random.key(0))
    clamps = {"x": examples.values(2, 4), "y": examples.one_hot(3)}
    saved, plain = (
        relaxed(network, clamps, solver=Gradient(0.3, 0.5), steps=steps, savings=savings, record=True)
        for savings in (True, False)
    )
    close(saved.states, plain.states, atol=EXACT)
    close(saved.trace, plain.trace, atol=EXACT)
    first = relaxed(network, clamps, solver=Gradient(0.3, 0.5), steps=0).states
    moved = [n for n in network.shapes if not np.array_equal(saved.states[n], first[n])]
    assert len([n for n in moved if n.startswith("h")]) == min(steps, 39)
