"""Clamps hold to the bit, samples do not see each other, and the key alone decides what is drawn."""

import equinox as eqx
import examples
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from oracles import close, relaxed, settled, signal

from hookean.algorithms import IPC, PC
from hookean.core.clamp import Masked
from hookean.core.coordinates import ErrorCoordinates, StateCoordinates
from hookean.core.initialise import Given, Normal
from hookean.core.network import Network
from hookean.inference import Flow, Gradient, Optax
from hookean.inference.objective import everywhere

SOLVERS = {
    "gradient": Gradient(0.1, 0.5),
    "decay": Optax(optax.chain(optax.add_decayed_weights(0.1), optax.sgd(0.1))),
    "flow": Flow(duration=1.0, dt=0.2),
}


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(
    ("name", "mode"), [("mlp", "train"), ("mlp", "recall"), ("hopfield", "recall"), ("decoder", "recall")]
)
def test_clamped_entries_are_bit_identical(solver, name, mode):
    example = examples.build(name)
    clamps = example.modes[mode]
    end = relaxed(example.network, clamps, solver=SOLVERS[solver], steps=6, initial=example.initial)
    for node, clamp in clamps.items():
        if isinstance(clamp, Masked):
            np.testing.assert_array_equal(np.asarray(end.states[node])[clamp.mask], np.asarray(clamp.value)[clamp.mask])
            assert np.all(np.asarray(end.states[node])[~clamp.mask] != np.asarray(clamp.value)[~clamp.mask])
        else:
            np.testing.assert_array_equal(end.states[node], clamp)


@pytest.mark.parametrize("coordinates", [StateCoordinates(), ErrorCoordinates()], ids=["state", "error"])
@pytest.mark.parametrize("solver", ["gradient", "flow"])
def test_a_sample_moves_alone_as_in_a_batch_of_64(coordinates, solver, mlp, keys):
    """The rate is per sample: a mean over the batch in the energy would divide every move by 64."""
    x, y = jax.random.normal(keys(0), (64, 7)), jax.random.normal(keys(1), (64, 3))
    given = {"solver": SOLVERS[solver], "steps": 6, "coordinates": coordinates}
    many = relaxed(mlp.network, {"x": x, "y": y}, **given)
    for i in (0, 17):
        alone = relaxed(mlp.network, {"x": x[i : i + 1], "y": y[i : i + 1]}, **given)
        for name in mlp.network.shapes:
            np.testing.assert_allclose(many.states[name][i], alone.states[name][0], atol=1e-14)
        np.testing.assert_allclose(many.residual[i], alone.residual[0], rtol=1e-12)


def test_a_sample_stops_by_itself(mlp, keys):
    x, y = jax.random.normal(keys(0), (8, 7)), jax.random.normal(keys(1), (8, 3))
    given = {"solver": Gradient(0.2), "steps": 300, "tolerance": 0.01, "record": True}
    many = relaxed(mlp.network, {"x": x, "y": y}, **given)
    assert len(set(many.steps.tolist())) > 2
    alone = relaxed(mlp.network, {"x": x[5:6], "y": y[5:6]}, **given)
    assert alone.steps[0] == many.steps[5]
    close(jax.tree.map(lambda v: v[5], many.trace), jax.tree.map(lambda v: v[0], alone.trace), atol=1e-13)


def test_weights_see_the_batch_mean(mlp):
    whole = settled(mlp.network, mlp.train, solver=Gradient(0.1), steps=5)
    each = [
        settled(mlp.network, {n: v[i : i + 1] for n, v in mlp.train.items()}, solver=Gradient(0.1), steps=5)
        for i in range(examples.BATCH)
    ]
    close(whole[1:], jax.tree.map(lambda *g: sum(g) / len(g), *(e[1:] for e in each)), atol=1e-14)


DRAWS = {
    "PC": PC(Gradient(0.1), steps=3, initial=Normal(0.5), optimiser=optax.sgd(0.1)),
    "IPC": IPC(Gradient(0.1), steps=3, initial=Normal(0.5), optimiser=optax.sgd(0.1)),
}


@pytest.mark.parametrize("name", DRAWS)
def test_same_key_same_answer_and_other_keys_others(name, mlp, keys):
    algorithm = DRAWS[name]
    step = eqx.filter_jit(algorithm.step)
    state = algorithm.init(mlp.network, key=keys(0))

    def weights(key):
        return eqx.filter(step(state, dict(mlp.train), key=key)[0].network, eqx.is_array)

    close(weights(keys(1)), weights(keys(1)), atol=0)
    assert not eqx.tree_equal(weights(keys(1)), weights(keys(2)))


@pytest.mark.parametrize("name", DRAWS)
def test_samples_draw_their_own_start(name, mlp, keys):
    """Two equal samples in one batch start at different noise, so that their settled states differ."""
    twice = {n: jnp.stack([v[0], v[0]]) for n, v in mlp.train.items()}
    states = signal(DRAWS[name], mlp, twice, key=keys(3)).relaxation.states
    assert float(jnp.abs(states["h1"][0] - states["h1"][1]).min()) > 1e-4
    if name == "IPC":
        from hookean.inference.stepwise import Stepwise

        begun, _ = Stepwise(Gradient(0.1), Normal(0.5)).init(mlp.network, twice, key=keys(3))
        assert float(jnp.abs(begun["h1"][0] - begun["h1"][1]).min()) > 1e-4
        assert abs(float(jnp.std(begun["h1"])) - 0.5) < 0.4


def test_given_starts_are_one_per_sample_in_both_loops(mlp, keys):
    """Given states carry a batch axis: incremental and plain coding start from the same ones."""
    initial = Given({n: jax.random.normal(keys(i), (3, mlp.network.shapes[n][0])) for i, n in enumerate(("h1", "h2"))})
    sgd = optax.sgd(0.1)
    plain = PC(Gradient(0.1), steps=1, initial=initial, optimiser=sgd)
    last = IPC(Gradient(0.1), steps=2, weights_from=1, initial=initial, optimiser=sgd)
    ends = [
        eqx.filter_jit(a.step)(a.init(mlp.network, key=keys(5)), dict(mlp.train), key=keys(6))[0] for a in (plain, last)
    ]
    close(*(eqx.filter(e.network, eqx.is_array) for e in ends), atol=1e-13)


@pytest.mark.parametrize(
    ("node", "changed"), [("h1", "y"), ("h1", "h3"), ("h2", "y"), ("h3", "h1"), ("h3", "h2"), ("y", "h1")]
)
def test_gradient_at_a_node_ignores_terms_that_do_not_touch_it(node, changed, mlp, keys):
    network = mlp.network
    states = {n: jax.random.normal(keys(i), s) for i, (n, s) in enumerate(network.shapes.items())}
    other = eqx.tree_at(
        lambda t: (t.function.linear.weight, t.function.linear.bias),
        network.terms[changed],
        replace_fn=lambda w: 2 * w + 1,
    )
    altered = Network(network.shapes, network.terms | {changed: other}, input="x", output="y")
    free = frozenset(network.shapes)
    before, after = (everywhere(n, {}, StateCoordinates(), {}, free).gradient(states) for n in (network, altered))
    np.testing.assert_array_equal(before[node], after[node])
    target = network.terms[changed].target
    assert float(jnp.abs(before[target] - after[target]).min()) > 1e-3


@pytest.mark.parametrize("name", examples.NAMES)
def test_a_term_reads_only_its_nodes(name):
    """The energy of a term is finite although every other state is not a number."""
    network = examples.build(name).network
    for term, energy in network.terms.items():
        states = {n: jnp.full(s, 0.3 if n in energy.nodes else jnp.nan) for n, s in network.shapes.items()}
        assert bool(jnp.isfinite(network.energies(states, only=[term])[term]))
        for node in energy.nodes:
            assert not bool(jnp.isfinite(energy(states | {node: jnp.full(network.shapes[node], jnp.nan)})))
