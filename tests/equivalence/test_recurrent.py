"""Gradients over time: backwards, truncated, forwards in time, by differences; and where errors are sent."""

import inspect

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import flat, forward

from hookean.algorithms import BP, BPTT, PC, TemporalPC
from hookean.core.builders import elman, jordan
from hookean.core.coordinates import ErrorCoordinates, StateCoordinates
from hookean.core.density import Categorical
from hookean.core.initialise import Zero
from hookean.core.network import Network
from hookean.core.parameters import split
from hookean.core.recurrent import Recurrent
from hookean.core.term import Prediction
from hookean.inference import Gradient
from hookean.inference.relax import relax
from hookean.learning.backprop import backprop
from hookean.learning.rtrl import rtrl

T, BATCH = 9, 4
#: name -> (builder, options).
KINDS = {
    "elman": (elman, {}),
    "elman, inside": (elman, {"inside": True}),
    "elman, each": (elman, {"readout": "each"}),
    "elman, cross entropy": (elman, {"output": Categorical()}),
    "jordan": (jordan, {}),
    "jordan, trace": (jordan, {"decay": 0.6, "hidden": (5, 6)}),
}


def made(name, keys, **more):
    build, options = KINDS[name]
    network = build((T, 3), 2, **({"hidden": (5,), "radius": 1.2} | options | more), key=keys(0))
    y = jax.random.normal(keys(2), (BATCH, *network.shapes["y"]))
    return network, {"x": jax.random.normal(keys(1), (BATCH, T, 3)), "y": jax.nn.softmax(y)}


def signal(algorithm, network, batch):
    return eqx.filter_jit(algorithm.signal)(network, batch, epoch=0, key=jax.random.key(0))


def cosine(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def by_hand(network, x):
    """Return the forward states of one Elman sequence, step by step in NumPy."""
    cell = network.terms["h1"].function.cell
    U, b, W = (np.asarray(part) for part in (cell.input.weight, cell.input.bias, cell.recurrent))
    h, states = np.zeros(len(b)), []
    for now in np.asarray(x):
        h = np.tanh(U @ now + b + W @ h)
        states.append(h)
    return np.stack(states)


def test_forward_pass_is_the_recursion(keys):
    network, batch = made("elman", keys)
    states = forward(network, {"x": batch["x"]})
    wanted = np.stack([by_hand(network, x) for x in batch["x"]])
    np.testing.assert_allclose(states["h1"], wanted, atol=1e-14)
    readout = network.terms["y"].function.layer.layer.linear
    np.testing.assert_allclose(
        states["y"], wanted[:, -1] @ np.asarray(readout.weight).T + np.asarray(readout.bias), atol=1e-14
    )


def test_jordan_context_is_a_fading_trace_of_the_outputs(keys):
    network, batch = made("jordan, trace", keys)
    function = network.terms["o"].function
    states = forward(network, {"x": batch["x"]})["o"][0]
    context = jnp.zeros(2)
    for t in range(T):
        np.testing.assert_allclose(function.contexts(states)[t], context, atol=1e-14)
        np.testing.assert_allclose(states[t], function.cell(function.cell.drive(batch["x"][0, t]), context), atol=1e-14)
        context = 0.6 * context + states[t]


def test_clamped_outputs_are_the_teachers_context(keys):
    network, batch = made("jordan", keys, readout="each")
    predicted = network.predictions({"x": batch["x"][0], "y": batch["y"][0]})["y"]
    cell = network.terms["y"].function.cell
    np.testing.assert_allclose(predicted[3], cell(cell.drive(batch["x"][0, 3]), batch["y"][0, 2]), atol=1e-14)


@pytest.mark.parametrize("name", KINDS)
def test_forwards_in_time_is_backwards_in_time(name, keys):
    network, batch = made(name, keys)
    ahead, energies = eqx.filter_jit(rtrl)(network, batch)
    back, wanted = eqx.filter_jit(backprop)(network, batch)
    assert jax.tree.structure(ahead) == jax.tree.structure(back)
    np.testing.assert_allclose(flat(ahead), flat(back), atol=1e-13)
    np.testing.assert_allclose(energies["y"], wanted["y"], atol=1e-13)


@pytest.mark.parametrize("name", ["elman, each", "jordan, trace"])
def test_gradient_is_the_finite_difference(name, keys):
    network, batch = made(name, keys)
    trained, rest = split(network)
    leaves, tree = jax.tree.flatten(trained)

    @jax.jit
    def loss(leaves):
        model = eqx.combine(jax.tree.unflatten(tree, leaves), rest)
        return jnp.mean(jax.vmap(lambda sample: model.energy(model.forward(sample)))(batch))

    along = [jax.random.normal(keys(i + 5), leaf.shape) for i, leaf in enumerate(leaves)]
    step = 1e-5
    ends = [loss([leaf + sign * step * a for leaf, a in zip(leaves, along, strict=True)]) for sign in (1, -1)]
    slope = sum(
        jnp.sum(g * a) for g, a in zip(jax.tree.leaves(signal(BP(), network, batch).gradient), along, strict=True)
    )
    np.testing.assert_allclose((ends[0] - ends[1]) / (2 * step), slope, rtol=1e-8)


def test_a_window_of_the_whole_sequence_truncates_nothing(keys):
    network, batch = made("elman, each", keys)
    whole = flat(signal(BP(), network, batch).gradient)
    np.testing.assert_array_equal(flat(signal(BPTT(), network, batch).gradient), whole)
    for sliding in (False, True):
        np.testing.assert_allclose(flat(signal(BPTT(T, sliding), network, batch).gradient), whole, atol=1e-13)
    cosines = [cosine(flat(signal(BPTT(K, True), network, batch).gradient), whole) for K in (1, 3, 6)]
    assert cosines[0] < cosines[1] < cosines[2] < 1 - 1e-6


@pytest.mark.parametrize("sliding", [False, True])
def test_a_window_of_one_step_is_elmans_rule(sliding, keys):
    """The context is an input like any other: one pass through one layer at each time, by hand."""
    network, batch = made("elman, each", keys)
    found = signal(BPTT(1, sliding), network, batch).gradient.terms["h1"].function.cell
    readout = np.asarray(network.terms["y"].function.layer.layer.linear.weight)
    W, U, b = 0, 0, 0
    for x, y in zip(np.asarray(batch["x"]), np.asarray(batch["y"]), strict=True):
        h = by_hand(network, x)
        predicted = np.asarray(forward(network, {"x": jnp.asarray(x)[None]})["y"][0])
        delta = ((predicted - y) @ readout) * (1 - h**2)
        before = np.concatenate([np.zeros((1, h.shape[1])), h[:-1]])
        W, U, b = W + delta.T @ before / BATCH, U + delta.T @ x / BATCH, b + delta.sum(0) / BATCH
    np.testing.assert_allclose(found.recurrent, W, atol=1e-13)
    np.testing.assert_allclose(found.input.weight, U, atol=1e-13)
    np.testing.assert_allclose(found.input.bias, b, atol=1e-13)


def test_windows_side_by_side_reach_back_to_their_beginning(keys):
    """With the target at the end, windows of 4 over 9 steps leave the last window one step."""
    network, batch = made("elman", keys)
    one, four = (flat(signal(BPTT(K), network, batch).gradient) for K in (1, 4))
    np.testing.assert_allclose(one, four, atol=1e-14)
    sliding = flat(signal(BPTT(4, True), network, batch).gradient)
    assert np.abs(sliding - four).max() > 1e-3


def test_temporal_pc_takes_elmans_direction_after_a_small_step(keys):
    """One small step moves each state along the error of its own time: the window of one step, times the rate."""
    network, batch = made("elman, each", keys)
    rate = 1e-6
    found = signal(TemporalPC(Gradient(rate), steps=1), network, batch).gradient
    wanted = signal(BPTT(1), network, batch).gradient
    np.testing.assert_allclose(flat(found.terms["h1"]) / rate, flat(wanted.terms["h1"]), atol=1e-4)
    np.testing.assert_allclose(flat(found.terms["y"]), flat(wanted.terms["y"]), atol=1e-4)


def test_a_target_at_the_end_teaches_temporal_pc_the_last_step_alone(keys):
    network, batch = made("elman", keys)
    together = signal(PC(solver=Gradient(0.2), steps=40), network, batch)
    in_time = signal(TemporalPC(Gradient(0.2), steps=40), network, batch)
    moved = [
        np.abs(jax.vmap(network.errors)(s.relaxation.states)["h1"]).max((0, 2)) > 1e-12 for s in (together, in_time)
    ]
    assert moved[0].all()
    assert moved[1].tolist() == [False] * (T - 1) + [True]


def test_an_error_reaches_one_step_further_back_with_every_relaxation_step(keys):
    network, batch = made("elman", keys)
    for steps in (1, 4):
        end = signal(PC(solver=Gradient(0.1), steps=steps), network, batch).relaxation
        moved = np.abs(jax.vmap(network.errors)(end.states)["h1"]).max((0, 2)) > 1e-12
        assert moved.tolist() == [False] * (T - steps) + [True] * steps


def test_both_coordinates_settle_at_the_same_sequence(keys):
    network, batch = made("elman, each", keys, radius=0.8)
    ends = [
        eqx.filter_jit(relax)(network, batch, solver=Gradient(0.1, 0.7), steps=600, coordinates=coordinates)
        for coordinates in (StateCoordinates(), ErrorCoordinates())
    ]
    assert float(ends[0].residual.max()) < 1e-8
    np.testing.assert_allclose(ends[0].states["h1"], ends[1].states["h1"], atol=1e-7)
    start = eqx.filter_jit(relax)(network, batch, solver=Gradient(0.1, 0.7), steps=600, initial=Zero())
    np.testing.assert_allclose(ends[0].states["h1"], start.states["h1"], atol=1e-7)


def test_layers_of_sequences_stack(keys):
    network, batch = made("elman", keys, hidden=(5, 4))
    cells = [network.terms[name].function for name in ("h1", "h2")]
    states = forward(network, {"x": batch["x"]})
    np.testing.assert_allclose(states["h2"][0], cells[1].roll(cells[0].roll(batch["x"][0])), atol=1e-14)
    assert float(signal(TemporalPC(), network, batch).energies["h2"]) > 0


def test_sequences_refuse_what_they_cannot_do(keys):
    network, batch = made("elman", keys)
    function = network.terms["h1"].function
    with pytest.raises(ValueError, match="as its last source"):
        Prediction("h1", ("h1", "x"), function)
    with pytest.raises(ValueError, match="decay must be"):
        Recurrent(function.cell, 1.0)
    with pytest.raises(ValueError, match="window must be at least 1"):
        BPTT(window=0)
    trace, _ = made("jordan, trace", keys)
    BPTT(2).check(trace)
    BPTT(sliding=True).check(trace)
    with pytest.raises(ValueError, match=r"sliding windows need .* got a decay of 0.6"):
        BPTT(2, True).check(trace)
    for build in (elman, jordan):
        with pytest.raises(ValueError, match="readout must be last or each, got 'every'"):
            inspect.unwrap(build)((T, 3), 2, readout="every", key=keys(0))  # without the checks of annotations
    with pytest.raises(ValueError, match="one recurrent node, got 2"):
        rtrl(*made("elman", keys, hidden=(5, 4)))
    with pytest.raises(ValueError, match="'h1' free"):
        rtrl(network, batch | {"h1": jnp.zeros((BATCH, T, 5))})
    cyclic = Network({"a": 2, "b": 2}, [Prediction("a", "b", jnp.sin), Prediction("b", "a", jnp.cos)])
    with pytest.raises(ValueError, match="cycle"):
        BPTT().check(cyclic)
