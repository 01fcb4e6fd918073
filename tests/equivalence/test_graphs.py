"""Graphs of units: against the perceptron and one state vector by hand, sparse against dense, sweeps against a pass."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from examples import Example
from oracles import close, flat, signal

from hookean.algorithms import BP, EPC, GN, PC, SweptBP
from hookean.core.builders import graph, mlp
from hookean.core.clamp import Masked
from hookean.core.density import Gaussian
from hookean.core.edges import SparseEdges, count_edges
from hookean.core.initialise import Forward, Given, Normal, Sweeps
from hookean.core.topology import Adjacency, Full, Hierarchical, Random, SmallWorld
from hookean.inference import Gradient, Newton
from hookean.inference.relax import relax
from hookean.learning.energy_gradient import settled_gradient

GROUPS = (5, 7, 4, 3)  # image, two hidden groups, label
ENDS = np.cumsum([0, *GROUPS])
NAMES = ("x", "h1", "h2", "y")
EVERY = {
    "full": Full(),
    "self": Full(self_coupling=True),
    "random": Random(0.3),
    "small world": SmallWorld(6, 0.2),
    "hierarchical": Hierarchical(),
    "lateral": Hierarchical(lateral=True),
}


def build(topology, **options):
    given = {"hidden": GROUPS[1:3], "key": jax.random.key(3)} | options
    return graph(GROUPS[0], GROUPS[3], topology=topology, **given)


def batch(samples=6):
    key = jax.random.key(4)
    x = jax.random.normal(key, (samples, GROUPS[0]))
    return {"x": x, "y": jax.nn.one_hot(jnp.arange(samples) * 2 % GROUPS[3], GROUPS[3], dtype=float)}


def whole_matrix(network):
    """Return (W, mask, b) over all units, zero where there is no coupling."""
    size = ENDS[-1]
    W, mask, b = np.zeros((size, size)), np.zeros((size, size), bool), np.zeros(size)
    for term in network.term_list:
        rows = slice(*ENDS[NAMES.index(term.target) :][:2])
        b[rows] = term.function.bias
        for source, block in zip(term.sources, term.function.blocks, strict=True):
            columns = slice(*ENDS[NAMES.index(source) :][:2])
            W[rows, columns] = block.weight
            mask[rows, columns] = True if block.mask is None else block.mask
    return W, mask, b


def vector(states):
    return np.concatenate([np.asarray(states[name]) for name in NAMES], axis=-1)


@eqx.filter_jit
def settle(network, clamps, steps=9, initial=Sweeps(2)):
    end = relax(network, clamps, solver=Gradient(0.1), steps=steps, initial=initial, unroll=False)
    return end, *settled_gradient(network, end)


def test_hierarchical_graph_is_the_perceptron():
    plain = mlp(GROUPS[0], GROUPS[3], hidden=GROUPS[1:3], activation=jnp.tanh, key=jax.random.key(1))
    network = build(Hierarchical(), after=True)
    layers = [plain.terms[name].function.linear for name in ("h1", "h2", "y")]
    places = lambda n: [p for t in n.term_list for p in (t.function.blocks[0].weight, t.function.bias)]  # noqa: E731
    network = eqx.tree_at(places, network, [p for layer in layers for p in (layer.weight, layer.bias)])
    assert network.term_names == plain.term_names
    (a, ga, ea), (b, gb, eb) = (settle(n, batch(), initial=Forward()) for n in (network, plain))
    close(a.states, b.states, atol=1e-12)
    close(ea, eb, atol=1e-12)
    np.testing.assert_allclose(flat(places(ga)), flat([p for n in gb.term_list for p in _linear(n)]), atol=1e-10)


def _linear(term):
    return term.function.linear.weight, term.function.linear.bias


@pytest.mark.parametrize("name", ["self", "lateral"])
def test_one_state_vector_by_hand(name):
    """u = W f(x) + b, e = x - u, x <- x - rate (e - f'(x) W'e) where free, dW = e f(x)' on the mask."""
    network, clamps, steps, rate = build(EVERY[name]), batch(), 9, 0.1
    W, mask, b = whole_matrix(network)
    predicted = mask.any(axis=1)
    given = {n: jax.random.normal(jax.random.key(i), (6, GROUPS[i])) for i, n in enumerate(NAMES)}
    end, gradient, energies = eqx.filter_jit(
        lambda: (lambda r: (r, *settled_gradient(network, r)))(
            relax(network, clamps, solver=Gradient(rate), steps=steps, initial=Given(given), unroll=False)
        )
    )()
    states = vector(given | clamps)
    free = np.concatenate([np.full(s, n not in clamps) for n, s in zip(NAMES, GROUPS, strict=True)])

    def error(s):
        return np.where(predicted, s - np.tanh(s) @ W.T - b, 0)

    for _ in range(steps):
        e = error(states)
        states = states - rate * np.where(free, e - (1 - np.tanh(states) ** 2) * (e @ W), 0)
    e = error(states)
    np.testing.assert_allclose(vector(end.states), states, atol=1e-12)
    np.testing.assert_allclose(sum(energies.values()), 0.5 * np.mean(np.sum(e**2, axis=1)), atol=1e-12)
    change = np.einsum("bi,bj->ij", e, np.tanh(states)) / len(states) * mask
    found, _, bias = whole_matrix(eqx.combine(gradient, network))
    np.testing.assert_allclose(-found, change, atol=1e-12)
    np.testing.assert_allclose(-bias, np.where(predicted, e.mean(axis=0), 0), atol=1e-12)


def test_forward_update_by_hand():
    """e = x - u(s): targets where relaxation left them, sources s as swept without the label."""
    network, clamps = build(Full(), labels=False), batch()
    rule = PC(Gradient(0.1), steps=4, initial=Sweeps(3, unseen=("y",)), forward_update=True)
    found = signal(rule, Example(network, {"train": clamps}))
    W, mask, b = whole_matrix(network)
    untold = np.pad(np.asarray(clamps["x"]), ((0, 0), (0, ENDS[-1] - GROUPS[0])))
    for _ in range(3):
        untold[:, GROUPS[0] :] = (np.tanh(untold) @ W.T + b)[:, GROUPS[0] :]
    e = vector(found.relaxation.states) - np.tanh(untold) @ W.T - b
    change, _, bias = whole_matrix(eqx.combine(found.gradient, network))
    np.testing.assert_allclose(-change, np.einsum("bi,bj->ij", e, np.tanh(untold)) / len(e) * mask, atol=1e-12)
    np.testing.assert_allclose(-bias, e.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(sum(found.energies.values()), 0.5 * np.mean(np.sum(e**2, axis=1)), atol=1e-12)


def test_forward_update_needs_a_start_without_noise():
    with pytest.raises(ValueError, match="forward_update needs"):
        PC(initial=Normal(), forward_update=True)


def test_edges_alone_are_the_masked_matrix():
    dense, sparse = (build(Random(0.3), sparse=s) for s in (False, True))
    clamps = {"x": Masked(batch()["x"], jnp.tile(jnp.arange(GROUPS[0]) < 3, (6, 1)))}
    (a, ga, _), (b, gb, _) = (settle(n, clamps) for n in (dense, sparse))
    close(a.states, b.states, atol=1e-13)
    total = 0
    for one, other, term in zip(ga.term_list, gb.term_list, sparse.term_list, strict=True):
        np.testing.assert_allclose(one.function.bias, other.function.bias, atol=1e-13)
        for full, few, block in zip(one.function.blocks, other.function.blocks, term.function.blocks, strict=True):
            np.testing.assert_allclose(full.weight[block.plan.rows, block.plan.columns], few.values, atol=1e-13)
        assert count_edges(term.function.blocks) == sum(b.values.size for b in term.function.blocks)
        total += count_edges(term.function.blocks)
    assert total == whole_matrix(dense)[1].sum() == sum(count_edges(t.function.blocks) for t in dense.term_list)


def test_sparse_graphs_where_gradients_are_differentiated():
    """The curvature that holds the rate of error coordinates, and Newton's steps."""
    dense, sparse = (build(Hierarchical(lateral=False), sparse=s) for s in (False, True))
    for algorithm in (EPC(steps=3), PC(Newton(3), steps=2)):
        a, b = (signal(algorithm, Example(network, {"train": batch()})) for network in (dense, sparse))
        close(a.relaxation.states, b.relaxation.states, atol=1e-12)
        assert float(jnp.abs(a.relaxation.states["h1"]).max()) > 0.1
    with pytest.raises(ValueError, match="GaussNewton needs dense couplings: build the graph with sparse=False"):
        signal(GN(), Example(sparse, {"train": batch()}))


@pytest.mark.parametrize("sparse", [False, True])
def test_gradients_of_edges_against_differences(sparse):
    """Along random directions in all weights and all states."""
    network, states = build(Random(0.4), sparse=sparse), {n: s[0] for n, s in batch().items()}
    states |= {"h1": jnp.linspace(-1, 1, 7), "h2": jnp.linspace(0.5, -0.3, 4)}
    trained, rest = eqx.partition(network, eqx.is_inexact_array)
    leaves, tree = jax.tree.flatten((trained, states))

    @jax.jit
    def energy(leaves):
        trained, states = jax.tree.unflatten(tree, leaves)
        return eqx.combine(trained, rest).energy(states)

    gradient = jax.jit(jax.grad(energy))(leaves)
    random = np.random.default_rng(0)
    for _ in range(3):
        along = [random.standard_normal(leaf.shape) for leaf in leaves]
        ends = (energy([a + sign * 1e-5 * b for a, b in zip(leaves, along, strict=True)]) for sign in (1, -1))
        slope = float(np.subtract(*ends)) / 2e-5
        found = sum(float(np.sum(g * b)) for g, b in zip(gradient, along, strict=True))
        np.testing.assert_allclose(found, slope, rtol=1e-7)


def test_gradient_of_a_unit_is_local():
    """Other weights into unit k change the force on k and on the units that k reads, and on no other."""
    network = build(Random(0.3))
    _, mask, _ = whole_matrix(network)
    states = {n: jax.random.normal(jax.random.key(i), (GROUPS[i],)) for i, n in enumerate(NAMES)}
    at = NAMES.index("h2")
    bias = lambda n: n.terms["h2"].function.bias  # noqa: E731
    force = jax.jit(lambda bias_: jax.grad(eqx.tree_at(bias, network, bias_).energy)(states))
    before = force(bias(network))
    for unit in range(GROUPS[at]):
        moved = vector(force(bias(network).at[unit].add(1.0))) != vector(before)
        expected = mask[ENDS[at] + unit].copy()
        expected[ENDS[at] + unit] = True
        np.testing.assert_array_equal(moved, expected)


def test_missing_couplings_stay_missing():
    network = build(Random(0.3))
    _, mask, _ = whole_matrix(network)
    algorithm = PC(solver=Gradient(0.1), steps=2, initial=Sweeps(), optimiser=optax.adamw(0.01))
    state, info = eqx.filter_jit(algorithm.step)(
        algorithm.init(network, key=jax.random.key(0)), batch(), key=jax.random.key(1)
    )
    W, _, _ = whole_matrix(state.network)
    assert np.all(W[~mask] == 0)
    assert np.all(W[mask] != 0)
    np.testing.assert_allclose(info.outputs, eqx.filter_jit(algorithm.predict)(network, batch()), atol=1e-12)


def test_sparse_weights_of_their_own_for_every_sample_are_refused():

    def product(factor):
        edges = SparseEdges(np.array([[1.0], [2.0]]), np.ones((2, 1), bool))
        return eqx.tree_at(lambda e: e.values, edges, factor * edges.values)(jnp.ones(1))

    np.testing.assert_allclose(product(2.0), [2.0, 4.0])
    with pytest.raises(ValueError, match="the same for every sample"):
        jax.vmap(product)(jnp.arange(3.0))


def test_sweeps_reach_the_forward_states():
    network, sample = build(Hierarchical()), {"x": batch()["x"][0]}
    swept = Sweeps(3)(network, sample, key=jax.random.key(0))
    close(swept, network.forward(sample), atol=1e-14)
    assert not np.allclose(Sweeps(2)(network, sample, key=jax.random.key(0))["y"], swept["y"])


def test_sweeps_do_not_see_what_they_are_not_shown():
    network, sample = build(Full()), {name: values[0] for name, values in batch().items()}
    alone = Sweeps(3)(network, {"x": sample["x"]}, key=jax.random.key(0))
    found = Sweeps(3, unseen=("y",))(network, sample, key=jax.random.key(0))
    close(found, alone | {"y": sample["y"]}, atol=1e-14)
    assert not np.allclose(Sweeps(3)(network, sample, key=jax.random.key(0))["h1"], alone["h1"])


def test_time_unfolded_without_cycles_is_backpropagation():
    network = build(Hierarchical())
    one, other = (
        eqx.filter_jit(rule.signal)(network, batch(), epoch=0, key=jax.random.key(0)) for rule in (SweptBP(2), BP())
    )
    np.testing.assert_allclose(flat(one.gradient), flat(other.gradient), atol=1e-13)
    close(one.energies, {n: other.energies[n] for n in one.energies}, atol=1e-13)


def test_time_unfolded_by_hand():
    """Loss of T sweeps of one state vector, in NumPy; the gradient against its differences along one direction."""
    network, clamps, steps = build(Full(self_coupling=True)), batch(), 3
    W, _, b = whole_matrix(network)
    known = slice(0, GROUPS[0])

    def loss(W, b):
        states = np.zeros((6, ENDS[-1]))
        states[:, known] = clamps["x"]
        for _ in range(steps):
            states = np.tanh(states) @ W.T + b
            states[:, known] = clamps["x"]
        return 0.5 * np.mean(np.sum((clamps["y"] - (np.tanh(states) @ W.T + b)[:, ENDS[3] :]) ** 2, axis=1))

    found = eqx.filter_jit(SweptBP(steps).signal)(network, clamps, epoch=0, key=jax.random.key(0))
    np.testing.assert_allclose(sum(found.energies.values()), loss(W, b), atol=1e-13)
    dW, _, db = whole_matrix(eqx.combine(found.gradient, network))
    random = np.random.default_rng(0)
    V, v = random.standard_normal(W.shape), random.standard_normal(b.shape)
    slope = (loss(W + 1e-5 * V, b + 1e-5 * v) - loss(W - 1e-5 * V, b - 1e-5 * v)) / 2e-5
    np.testing.assert_allclose(np.sum(dW * V) + np.sum(db * v), slope, rtol=1e-7)


@pytest.mark.parametrize("rule", [PC(steps=2, initial=Sweeps()), SweptBP(2)])
def test_rules_predict_through_cycles(rule):
    network, clamps = build(Full()), batch()
    found = eqx.filter_jit(rule.predict)(network, clamps)
    np.testing.assert_array_equal(found, eqx.filter_jit(rule.predict)(network, {"x": clamps["x"]}))
    assert found.shape == (6, 3)


def test_topologies():
    key = jax.random.key(0)
    masks = {name: topology.mask(GROUPS, key=key) for name, topology in EVERY.items()}
    units = sum(GROUPS)
    assert masks["full"].sum() == units * (units - 1)
    assert masks["self"].all()
    assert not any(np.diag(masks[name]).any() for name in EVERY if name != "self")
    assert masks["hierarchical"].sum() == 5 * 7 + 7 * 4 + 4 * 3
    assert masks["hierarchical"][5:12, :5].all()
    assert (masks["lateral"] & ~masks["hierarchical"]).sum() == 7 * 6 + 4 * 3
    large = Random(0.2).mask((100, 300, 20), key=key)
    assert abs(large.mean() - 0.2 * 419 / 420) < 4 * np.sqrt(0.16) / 420
    ring = SmallWorld(8, 0.3).mask((100, 60), key=key)
    assert (ring == ring.T).all()
    assert ring.sum() == 160 * 8
    assert SmallWorld(8, 0.0).mask((100, 60), key=key).sum(axis=1).tolist() == [8] * 160
    for drawn in (Random(0.3), SmallWorld(6, 0.2)):
        first, second = (drawn.mask(GROUPS, key=jax.random.key(k)) for k in (1, 2))
        assert (first == drawn.mask(GROUPS, key=jax.random.key(1))).all()
        assert (first != second).any()


def test_wrong_topologies_are_refused():
    with pytest.raises(ValueError, match=r"adjacency must have shape \(19, 19\), got \(3, 3\)"):
        build(Adjacency(np.eye(3, dtype=bool)))
    with pytest.raises(ValueError, match="density must be above 0"):
        Random(0.0)
    with pytest.raises(ValueError, match="neighbours must be less than the number of units, 19"):
        build(SmallWorld(20))


def test_densities_of_image_and_label():
    network = build(Full(), image=Gaussian(0.1), output=Gaussian(3.0))
    precisions = [network.terms[name].density.precision.value for name in NAMES]
    assert precisions == [0.1, 1.0, 1.0, 3.0]
