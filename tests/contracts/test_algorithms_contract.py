"""What every registered algorithm must keep, discovered from what the room exports."""

import dataclasses
import functools
import inspect

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from oracles import flat, forward, signal

import hookean.algorithms as algorithms
from hookean.algorithms.contract import AbstractAlgorithm, Info, TrainState
from hookean.algorithms.nudging import Nudge
from hookean.core.builders import mlp
from hookean.core.coordinates import ErrorCoordinates
from hookean.core.initialise import Zero
from hookean.core.parameters import split
from hookean.inference import Flow, GaussNewton, Gradient, Langevin
from hookean.registry import exported_classes, find

ALGORITHMS = exported_classes(algorithms, AbstractAlgorithm)
each = pytest.mark.parametrize("name", ALGORITHMS)


def jitted(algorithm):
    return eqx.filter_jit(algorithm.step)


#: Options that suit the problem: states are not rates, tanh units have little goodness, an answer should cost one pass.
SUITED = {"EP": {"solver": Gradient(0.5)}, "FF": {"predicts": "readout", "threshold": 0.1}}
#: Rules whose hidden layers hear nothing of the error, or hear it through feedback that is random at first.
OWN_WAYS = ("FA", "DFA", "DTP", "FF", "UnsupervisedFF", "SoftHebb")


def made(name, **options):
    return ALGORITHMS[name](**(SUITED.get(name, {}) | options))


@pytest.fixture
def problem(keys):
    return small(keys)


def small(keys):
    """A small task: one of three classes by the sign and size of a direction; the first inputs say nothing."""
    network = mlp(7, 3, hidden=(8, 7, 6), activation=jnp.tanh, key=keys(0))
    x = jax.random.normal(keys(1), (24, 7))
    label = jnp.digitize(x[:, 3:] @ jnp.array([1.0, -1.0, 0.5, 0.0]), jnp.array([-0.7, 0.7]))
    return network, {"x": x, "y": jax.nn.one_hot(label, 3, dtype=float)}


def test_algorithms_are_registered():
    assert set(ALGORITHMS) >= {
        "BP",
        "PC",
        "IPC",
        "PN",
        "NN",
        "CN",
        "ZIL",
        "EPC",
        "GN",
        "PCALM",
        "EPNudging",
        "FA",
        "DFA",
        "DTP",
        "EP",
        "FF",
        "UnsupervisedFF",
        "SoftHebb",
    }
    assert find("ipc", ALGORITHMS, "algorithm") is algorithms.IPC


@each
def test_two_calls_trace_once(name, problem, keys):
    network, batch = problem
    algorithm = made(name)
    traced = []

    @eqx.filter_jit
    def step(state, batch, key):
        traced.append(name)
        return algorithm.step(state, batch, key=key)

    state, info = step(algorithm.init(network, key=keys(2)), batch, keys(3))
    later, _ = step(state, {n: v[::-1] for n, v in batch.items()}, keys(4))
    assert traced == [name]
    assert int(later.updates) == 2 * algorithm.updates_per_batch()
    assert isinstance(info, Info)


@each
def test_state_keeps_its_structure_and_dtypes(name, problem, keys):
    network, batch = problem
    algorithm = made(name)
    before = algorithm.init(network, key=keys(2))
    after, info = jitted(algorithm)(before, batch, key=keys(3))
    assert isinstance(after, TrainState)
    old, new = (eqx.filter(s, eqx.is_array) for s in (before, after))
    assert jax.tree.structure(old) == jax.tree.structure(new)
    assert [(a.shape, a.dtype) for a in jax.tree.leaves(old)] == [(a.shape, a.dtype) for a in jax.tree.leaves(new)]
    assert set(info.energies) == set(network.term_names)
    assert info.outputs.shape == (24, 3)
    assert float(info.diverged) == 0.0
    expected = eqx.filter_jit(algorithm.predict)(network, batch)
    np.testing.assert_allclose(info.outputs, expected, atol=1e-14)
    if "predict" not in vars(ALGORITHMS[name]):
        np.testing.assert_allclose(expected, forward(network, {"x": batch["x"]})["y"], atol=1e-14)


@each
def test_state_holds_every_buffer_once(name, problem, keys):
    """A compiled step may be given the state's own memory, in which a buffer may then stand only once."""
    state = ALGORITHMS[name]().init(problem[0], key=keys(2))
    arrays = [leaf for leaf in jax.tree.leaves(state) if eqx.is_array(leaf)]
    assert len({id(a) for a in arrays}) == len(arrays)


@each
def test_loss_decreases_over_fifty_steps(name, problem, keys):
    network, batch = problem
    solver = getattr(made(name), "solver", None)
    rate = 0.003 if name == "IPC" else 0.02
    most = 0.8 if name == "FF" else 0.6  # its answer is read from six units that learn something else
    algorithm = made(
        name, **({"solver": Gradient(0.2)} if isinstance(solver, Gradient) else {}), optimiser=optax.adam(rate)
    )

    def loss(network):
        return float(jnp.mean((eqx.filter_jit(algorithm.predict)(network, batch) - batch["y"]) ** 2))

    @eqx.filter_jit
    def train(state):
        arrays, static = eqx.partition(state, eqx.is_array)

        def body(arrays, key):
            state, _ = algorithm.step(eqx.combine(arrays, static), batch, key=key)
            return eqx.filter(state, eqx.is_array), None

        arrays, _ = jax.lax.scan(body, arrays, jax.random.split(keys(5), 50))
        return eqx.combine(arrays, static)

    state = train(algorithm.init(network, key=keys(2)))
    assert loss(state.network) < most * loss(network)


@each
def test_every_trained_leaf_receives_gradient(name, problem):
    import examples

    network, batch = problem
    gradient = signal(made(name), examples.Example(network, {"train": batch})).gradient
    trained = split(network)[0]
    assert jax.tree.structure(gradient) == jax.tree.structure(trained)
    for leaf, weight in zip(jax.tree.leaves(gradient), jax.tree.leaves(trained), strict=True):
        assert leaf.shape == weight.shape
        assert np.all(np.isfinite(leaf))
        assert np.abs(leaf).max() > 0


@each
def test_signal_changes_nothing_and_gradients_point_uphill(name, problem):
    """A step against the gradient lowers the loss of the forward pass, to first order."""
    import examples

    network, batch = problem
    found = signal(made(name), examples.Example(network, {"train": batch}))
    exact = signal(algorithms.BP(), examples.Example(network, {"train": batch})).gradient
    # There only the output's own layer has the error itself.
    parts = [tree.term_list[-1:] if name in OWN_WAYS else tree for tree in (found.gradient, exact)]
    a, b = (flat(part) for part in parts)
    assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) > 0.3
    assert set(found.energies) == set(network.term_names)


@each
def test_prediction_has_the_shape_of_the_output_and_ignores_its_clamp(name, problem):
    network, batch = problem
    algorithm = made(name)
    found = eqx.filter_jit(algorithm.predict)(network, batch)
    assert found.shape == (24, 3)
    np.testing.assert_array_equal(found, eqx.filter_jit(algorithm.predict)(network, {"x": batch["x"]}))


@each
def test_class_says_what_it_is(name):
    kind = ALGORITHMS[name]
    text = inspect.getdoc(kind)
    summary = text.split("\n")[0]
    assert summary.endswith(".")
    assert not {"Arguments:", "Source:", "Cost:"} - set(text.split())
    for fact in (kind.label, kind.reference, kind.cost):
        assert fact.strip()
    assert kind.needs.phases >= 1
    assert any(character.isdigit() for character in kind.reference), "a reference has a year"
    arguments = text.split("Arguments:")[1].split("Cost:")[0]
    missing = [field.name for field in dataclasses.fields(kind) if f"{field.name}:" not in arguments]
    assert not missing, "fields without a line under Arguments"


@each
def test_class_energies_name_what_is_predicted(name, problem):
    network, batch = problem
    algorithm = made(name)
    energies = eqx.filter_jit(algorithm.class_energies)(network, batch["x"])
    assert energies.shape == (24, 3)
    predicted = eqx.filter_jit(algorithm.predict)(network, batch)
    np.testing.assert_array_equal(energies.argmin(axis=1), predicted.argmax(axis=1))


@each
def test_weights_above_matter_where_the_class_says_so(name, problem, keys):
    """One sample, and a change of the output's weights across its last hidden state: the output stays as it was.

    Then the layers below can learn something else only from signals that went down through those very weights.
    """
    network, batch = problem
    one = {node: values[:1] for node, values in batch.items()}
    algorithm = made(name, **({"hard": False} if name == "FF" else {}))
    hidden = forward(network, {"x": one["x"]})["h3"][0]
    across = jax.random.normal(keys(7), hidden.shape)
    across -= hidden * (across @ hidden) / (hidden @ hidden)
    changed = eqx.tree_at(lambda n: n.term_list[-1].function.linear.weight, network, replace_fn=lambda w: w + across)
    np.testing.assert_allclose(forward(changed, one)["y"], forward(network, one)["y"], atol=1e-12)
    memory = algorithm.init(network, key=keys(2)).memory

    @eqx.filter_jit
    def below(model):
        found = algorithm.remembered_signal(memory, model, one, epoch=0, key=keys(3)).gradient
        return found.term_list[:-1]

    same = np.allclose(flat(below(network)), flat(below(changed)), atol=1e-12)
    assert same != (algorithm.needs.weight_transport or algorithm.needs.symmetric_weights)


def test_needs_are_said_in_words():
    assert algorithms.BP.needs.words() == ["weight transport", "backward pass", "2 phases"]
    assert algorithms.PC.needs.words() == ["symmetric weights", "2 phases"]
    assert algorithms.SoftHebb.needs.words() == []


def test_labels_are_unique():
    assert len({kind.label for kind in ALGORITHMS.values()}) == len(ALGORITHMS)


# What a field of that name is changed to. A field that is not here changes by its type: see `other`.
OTHER = {
    "solver": Gradient(0.21),
    "steps": 3,
    "initial": Zero(),
    "coordinates": ErrorCoordinates(),
    "nudge": Nudge(0.3),
    "optimiser": optax.sgd(0.2),
}
# What this algorithm's field is changed to, where the above would change nothing or is not allowed.
OTHER_OF = {
    ("GN", "solver"): GaussNewton(1),
    ("GN", "saturation"): 0.1,
    ("EPC", "momentum"): 0.5,
    ("EPC", "safety"): 1e-4,
    ("EPC", "optimiser"): optax.sgd(2e-3),
    ("EPNudging", "beta"): 0.1,
    ("PCALM", "rate"): 0.1,
    ("EPNudging", "phases"): "positive",
    ("EP", "phases"): "positive",
    ("EP", "beta"): 0.1,
    ("DTP", "feedback_loss"): "reconstruction",
    ("MCPC", "chain"): Langevin(0.02),
    ("FixedPrediction", "rate"): 0.5,
    ("FixedPrediction", "steps"): 2,
    ("ScheduledPC", "schedule"): "decaying",
    ("SweptBP", "steps"): 2,  # with three and more it is backpropagation
}
SETTINGS = [(name, field.name) for name, kind in ALGORITHMS.items() for field in dataclasses.fields(kind)]
SETTINGS.remove(("BP", "through_statistics"))  # it acts on batch normalisation, which has tests of its own
SETTINGS.remove(("BPTT", "window"))  # it acts on sequences, which have tests of their own, and so does the next
SETTINGS.remove(("BPTT", "sliding"))
SETTINGS.remove(("EPC", "every"))  # it acts where the bound holds the rate, which has a test of its own
SETTINGS.remove(("FF", "predicts"))  # it acts on the answer, which has a test of its own


def other(algorithm, name):
    value = getattr(algorithm, name)
    of = (type(algorithm).__name__, name)
    if of in OTHER_OF:
        return OTHER_OF[of]
    if name in OTHER:
        return OTHER[name]
    if name == "signs":  # the opposite of what would be drawn
        return "-" if float(algorithm.sign(0)) > 0 else "+"
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    raise AssertionError(f"say in OTHER what '{name}' may be changed to")


#: Signals a batch on the problem's network, by hand from each docstring's cost, with T = 8 where nothing else is said.
PASSES = {
    "FA": 2,
    "DFA": 2,
    "BPTT": 2,
    "SweptBP": 2 * (8 + 1),
    "TemporalPC": 22,
    "DTP": 2 + 2,
    "EP": 2 * (20 + 2 * 4) + 4,
    "FF": 3,
    "UnsupervisedFF": 2,
    "SoftHebb": 1,
    "BP": 2,
    "PC": 18,
    "PN": 18,
    "NN": 18,
    "CN": 18,
    "IPC": 16,
    "ZIL": 4,
    "GN": 2 * (2 + 1) * 2 + 2,
    "EPC": 12,
    "ScheduledPC": 18,
    "MCPC": 2 * 8 + 2 * (8 + 2 * 8),
    "FixedPrediction": 3 + 3,
    "PCALM": 2 * 8 + 2,
    "EPNudging": 2 * (2 * 5 + 2),
}


@each
def test_passes_are_counted(name, problem):
    assert ALGORITHMS[name]().passes(problem[0]) >= 1


@pytest.mark.parametrize("name", PASSES)
def test_passes_by_hand(name, problem):
    assert ALGORITHMS[name]().passes(problem[0]) == PASSES[name]


def test_passes_follow_the_solver(problem):
    assert algorithms.PC(solver=Flow(method=diffrax.Euler()), steps=4).passes(problem[0]) == 4 * 2 + 2
    assert algorithms.PC(solver=Flow(), steps=4).passes(problem[0]) == 4 * 4 + 2
    assert algorithms.CN(paired=True, steps=4).passes(problem[0]) == 2 * (4 * 2 + 2)
    assert algorithms.GN(GaussNewton(5), steps=1).passes(problem[0]) == 12 + 2


@pytest.mark.parametrize(("name", "field"), SETTINGS)
def test_every_setting_changes_what_is_learned(name, field):
    """A setting that changes nothing is a defect. One sign may agree by chance, so several epochs are run."""
    changed = dataclasses.replace(plain(name), **{field: other(plain(name), field)})
    assert np.abs(learned(changed) - as_it_is(name)).max() > 1e-6


def plain(name):
    # Error coding divides its gradient by the share of the way that the errors went.
    return made(name, optimiser=optax.sgd(1e-3 if name == "EPC" else 0.1))


@functools.cache
def as_it_is(name):
    return learned(plain(name))


def learned(algorithm):
    """Return the weights after a step in each of four epochs."""

    def keys(n):
        return jax.random.fold_in(jax.random.key(20), n)

    network, batch = small(keys)
    step = jitted(algorithm)
    state = algorithm.init(network, key=keys(2))
    for epoch in range(4):
        state = eqx.tree_at(lambda s: s.epoch, state, jnp.asarray(epoch, jnp.int32))
        state, _ = step(state, batch, key=keys(3))
    return flat(split(state.network)[0])


def test_ramp_changes_later_epochs(problem, keys):
    import examples

    example = examples.Example(problem[0], {"train": problem[1]})
    flat_, ramped = algorithms.PN(Nudge(0.4)), algorithms.PN(Nudge(0.4, 0.2))
    np.testing.assert_array_equal(flat(signal(flat_, example).gradient), flat(signal(ramped, example).gradient))
    a, b = (flat(signal(algorithm, example, epoch=2).gradient) for algorithm in (flat_, ramped))
    assert np.abs(a - b).max() > 1e-6
