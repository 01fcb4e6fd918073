"""Disturbed learning against what it must be: turned feedback, units that move at random times, delays, lost units."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from oracles import dense_gradients, flat

from hookean.algorithms import BP, DFA, EP, EPC, FA, FF, IPC, PC, SoftHebb
from hookean.core.builders import decoder, hopfield_mlp, mlp
from hookean.core.parameters import split
from hookean.inference import Asynchronous, Gradient, Projected
from hookean.inference.relax import relax
from hookean.learning.turned import TurnedLinear, turn, turned
from hookean.tasks.properties import asynchronous, silence
from hookean.tasks.waiting import awaited, delayed, masked, products_in_sequence


@pytest.fixture(scope="module")
def problem():
    key = jax.random.key(8)
    network = mlp(7, 3, hidden=(6, 5, 4), activation=jnp.tanh, key=key)
    x = jax.random.normal(jax.random.fold_in(key, 1), (5, 7))
    return network, {"x": x, "y": jax.nn.one_hot(jnp.array([0, 2, 2, 1, 0]), 3, dtype=float)}


@eqx.filter_jit
def gradient(algorithm, network, batch):
    return algorithm.signal(network, batch, epoch=0, key=jax.random.key(0)).gradient


def test_turning_keeps_the_length_and_makes_the_angle(key):
    weight, direction = jax.random.normal(key, (2, 5, 7))
    for angle in (0.0, 35.0, 90.0, 180.0):
        back = turn(weight, direction, angle)
        cosine = jnp.sum(back * weight) / jnp.linalg.norm(back) / jnp.linalg.norm(weight)
        np.testing.assert_allclose(cosine, np.cos(np.deg2rad(angle)), atol=1e-12)
        np.testing.assert_allclose(jnp.linalg.norm(back), jnp.linalg.norm(weight), rtol=1e-12)


def test_turned_feedback_is_backpropagation_through_other_matrices(problem):
    network, batch = problem
    changed = turned(network, 50.0, key=jax.random.key(3))
    layers = [term.function.linear for term in changed.term_list]
    x, states = np.asarray(batch["x"]), [np.asarray(batch["x"])]
    for index, layer in enumerate(layers):
        drive = states[-1] @ np.asarray(layer.weight).T + np.asarray(layer.bias)
        states.append(drive if index == len(layers) - 1 else np.tanh(drive))
    delta, expected = states[-1] - np.asarray(batch["y"]), []
    for index in range(len(layers) - 1, -1, -1):
        expected.insert(0, (delta.T @ states[index] / len(x), delta.mean(axis=0)))
        back = turn(layers[index].weight, layers[index].direction.value, 50.0)
        delta = delta @ np.asarray(back) * (1 - states[index] ** 2)
    for (dw, db), (ew, eb) in zip(dense_gradients(changed, gradient(BP(), changed, batch)), expected, strict=True):
        np.testing.assert_allclose(dw, ew, atol=1e-12)
        np.testing.assert_allclose(db, eb, atol=1e-12)


@pytest.mark.parametrize("algorithm", [PC(steps=5), EPC(0.05), EP(free_steps=3, nudged_steps=2, phases="positive")])
def test_feedback_turned_by_nothing_changes_nothing(algorithm, problem):
    network, batch = problem
    if isinstance(algorithm, EP):
        network = hopfield_mlp(7, 3, hidden=(6, 5), key=jax.random.key(1))
    found = [flat(gradient(algorithm, turned(network, a, key=jax.random.key(3)), batch)) for a in (0.0, 60.0)]
    exact = flat(gradient(algorithm, network, batch))
    np.testing.assert_allclose(found[0], exact, atol=1e-13)
    assert np.abs(found[1] - exact).max() > 1e-4


def test_layers_inside_layers_are_turned(problem):
    _, batch = problem
    network = decoder(2, (2, 3), hidden=(4,), activation=jnp.tanh, key=jax.random.key(1))
    images = {"x": batch["x"][:, :6].reshape(-1, 2, 3)}
    changed = turned(network, 60.0, key=jax.random.key(3))
    assert isinstance(changed.terms["x"].function.layer.linear, TurnedLinear)
    states = [relax(n, images, solver=Gradient(0.1), steps=1).states["h1"] for n in (network, changed)]
    assert np.abs(states[0] - states[1]).max() > 1e-4


def test_a_unit_moves_as_the_solver_says_or_not_at_all(problem):
    network, batch = problem

    @eqx.filter_jit
    def states(solver, steps):
        return relax(network, batch, solver=solver, steps=steps, key=jax.random.key(5)).states["h3"]

    start, one = states(Gradient(0.2), 0), states(Gradient(0.2), 1)
    np.testing.assert_allclose(states(Asynchronous(Gradient(0.2), 1.0), 3), states(Gradient(0.2), 3), atol=1e-14)
    drawn = states(Asynchronous(Gradient(0.2), 0.3), 1)
    moved = np.abs(drawn - start) > 1e-12
    np.testing.assert_allclose(drawn, np.where(moved, one, start), atol=1e-14)
    assert 0 < moved.sum() < moved.size


def test_as_many_moves_as_with_a_clock(problem):
    rule = asynchronous(PC(steps=6), 0.25, problem[0])
    assert (rule.steps, rule.solver.share) == (24, 0.25)
    rule = asynchronous(EP(), 0.5, problem[0])
    assert (rule.free_steps, rule.nudged_steps) == (40, 8)
    assert isinstance(rule.solver.solver, Projected)
    assert asynchronous(IPC(steps=6), 0.25, problem[0]).steps == 6


def test_products_in_sequence_are_counted():
    w = jnp.ones((3, 3))

    def function(x):
        def body(carry, row):
            return w @ carry, w @ row

        looped, rows = jax.lax.scan(body, x, jnp.ones((5, 3)))
        chosen = jax.lax.cond(x[0] > 0, lambda v: v, lambda v: w @ (w @ v), x)
        after = jax.jit(lambda v: w @ v)(looped)
        return {"none": 2 * x, "beside": w @ x + w @ x, "loop": looped, "rows": rows, "chosen": chosen, "jit": after}

    assert products_in_sequence(function, jnp.ones(3)) == {
        "none": 0, "beside": 1, "loop": 5, "rows": 1, "chosen": 2, "jit": 6,
    }  # fmt: skip
    with pytest.raises(ValueError, match="known length"):
        products_in_sequence(lambda x: jax.lax.while_loop(lambda v: v[0] < 3, lambda v: w @ v, x), jnp.ones(3))


# With L = 4 layers the first waits for the forward pass above it, L - 1, and for what brings the error back to it.
WAITS = {
    BP: [3 + 3, 2 + 2, 1 + 1, 0],
    FA: [3 + 3, 2 + 2, 1 + 1, 0],
    DFA: [3 + 1, 2 + 1, 1 + 1, 0],
    SoftHebb: [0, 0, 0, 0],
}


@pytest.mark.parametrize("rule", WAITS)
def test_what_layers_wait_for(rule, problem):
    network, batch = problem
    left = awaited(rule(), rule().init(network, key=jax.random.key(0)), batch)
    assert [term.function.linear.weight for term in left.term_list] == WAITS[rule]
    assert [term.function.linear.bias for term in left.term_list] == WAITS[rule]


def test_false_labels_make_forward_forward_wait_and_relaxation_waits_longest(problem):
    network, batch = problem

    def first(algorithm):
        return jax.tree.leaves(awaited(algorithm, algorithm.init(network, key=jax.random.key(0)), batch))[0]

    assert first(FF(hard=False)) == 0
    assert first(FF(hard=True)) == 4  # the one pass that proposes them: three layers above, and this one again
    assert first(PC(steps=4)) < first(PC(steps=8))
    assert first(IPC(steps=8)) < first(PC(steps=8))


def test_delays_hand_on_old_gradients():
    weights = {"a": jnp.zeros(2), "b": jnp.zeros(3)}
    rule = delayed({"a": 0, "b": 2})
    state, seen = rule.init(weights), []
    for step in range(6):
        given = {"a": jnp.full(2, step + 1.0), "b": jnp.full(3, step + 1.0)}
        out, state = rule.update(given, state)
        seen.append((float(out["a"][0]), float(out["b"][0])))
    assert seen == [(1, 0), (2, 0), (3, 1), (4, 2), (5, 3), (6, 4)]


def test_lost_units_fall_silent_and_stay_so(problem):
    network, batch = problem
    mask = silence(network, 0.5, seed=3)
    assert jax.tree.map(jnp.shape, mask) == jax.tree.map(jnp.shape, split(network)[0])
    rule = BP(optimiser=optax.chain(optax.adam(0.05), masked()))
    state = rule.init(network, key=jax.random.key(0))
    hurt = eqx.combine(jax.tree.map(jnp.multiply, split(network)[0], mask), split(network)[1])
    state = dataclasses.replace(state, network=hurt, optimiser=(state.optimiser[0], mask))
    for _ in range(3):
        state, _ = eqx.filter_jit(rule.step)(state, batch, key=jax.random.key(0))
    answers = jax.vmap(state.network.forward)({"x": batch["x"]})
    for node, units in (("h1", 6), ("h2", 5), ("h3", 4)):
        silent = np.all(np.asarray(answers[node]) == 0, axis=0)
        assert silent.sum() == round(0.5 * units)
        below = next(t for t in mask.term_list if t.target == node).function.linear
        np.testing.assert_array_equal(np.asarray(below.bias) == 0, silent)
    assert np.all(np.any(np.asarray(answers["y"]) != 0, axis=0))
    assert np.abs(flat(split(state.network)[0]) - flat(split(hurt)[0])).max() > 0.01
