"""The published roads to depth: what each one's gradient is, by the equations it was published with."""

import itertools

import equinox as eqx
import examples
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from oracles import close, dense_gradients, flat, signal

from hookean.algorithms import BP, EPC, PC, PCALM, EPNudging, FixedPrediction, ScheduledPC
from hookean.core.builders import mlp
from hookean.core.coordinates import ErrorCoordinates
from hookean.core.density import Categorical, Gaussian
from hookean.inference import Gradient
from hookean.inference.curvature import largest_curvature
from hookean.inference.objective import everywhere
from hookean.inference.schedule import Constant, Decaying, Spiking


def deep(output=None, precision=1.0):
    network = mlp(
        6, 3, hidden=(5, 6, 4, 5), activation=jnp.tanh, output=output or Gaussian(), precision=precision,
        key=jax.random.key(3),
    )  # fmt: skip
    return examples.Example(network, {"train": {"x": examples.values(3, 6), "y": examples.one_hot(3)}})


def by_layer(example, algorithm):
    """Return (cosine, norm ratio) of each layer's gradient with backpropagation's."""
    found = dense_gradients(example.network, signal(algorithm, example).gradient)
    exact = dense_gradients(example.network, signal(BP(), example).gradient)
    return [compare(flat(one), flat(other)) for one, other in zip(found, exact, strict=True)]


def compare(a, b):
    sizes = np.linalg.norm(a), np.linalg.norm(b)
    return (a @ b / (sizes[0] * sizes[1]) if sizes[0] else 0.0), sizes[0] / sizes[1]


@pytest.mark.parametrize("name", ["mlp", "skip", "categorical", "bernoulli", "conv"])
def test_fixed_prediction_is_backpropagation(name):
    example = examples.build(name)
    close(signal(FixedPrediction(), example).gradient, signal(BP(), example).gradient, atol=1e-12)
    slow = signal(FixedPrediction(0.5, 100), example).gradient
    close(slow, signal(BP(), example).gradient, atol=1e-10)


def test_fixed_prediction_does_not_see_precisions_and_needs_its_steps():
    soft, stiff = deep(), deep(precision=5.0)
    close(signal(FixedPrediction(), stiff).gradient, signal(FixedPrediction(), soft).gradient, atol=1e-14)
    close(signal(FixedPrediction(steps=4), soft).gradient, signal(BP(), soft).gradient, atol=1e-12)
    short = by_layer(soft, FixedPrediction(steps=3))
    assert short[0] == (0.0, 0.0)
    few = by_layer(soft, FixedPrediction(0.1, 20))
    assert few[0][1] < 0.9  # small rates have not arrived


@pytest.mark.parametrize("output", [None, Categorical()], ids=["squared", "categorical"])
@pytest.mark.parametrize("rate", [0.3, 0.7])
def test_spiking_precision_with_forward_update_has_backpropagations_direction(rate, output):
    """Scale 1 at the output, eta^k (1 - eta) at k hops below it."""
    found = by_layer(deep(output), ScheduledPC(alpha=1e-12, solver=Gradient(rate), steps=5))
    for hops, (cosine, ratio) in enumerate(reversed(found)):
        assert cosine == pytest.approx(1.0, abs=1e-8)
        assert ratio == pytest.approx(1.0 if hops == 0 else rate**hops * (1 - rate), rel=1e-6)
    without = by_layer(deep(output), ScheduledPC(alpha=1e-12, solver=Gradient(rate), steps=5, forward_update=False))
    assert min(cosine for cosine, _ in without) < 0.9999


def test_forward_update_of_plain_predictive_coding_is_that_of_the_schedule_without_one():
    """Where there are no cycles the start without the target is the forward pass; alpha 1 changes no precision."""
    plain = signal(PC(Gradient(0.3), steps=5, forward_update=True), deep()).gradient
    scheduled = signal(ScheduledPC(alpha=1.0, solver=Gradient(0.3), steps=5), deep()).gradient
    close(plain, scheduled, atol=1e-12)
    relaxed = signal(PC(Gradient(0.3), steps=5), deep()).gradient
    assert np.linalg.norm(flat(plain) - flat(relaxed)) > 1e-3 * np.linalg.norm(flat(plain))


def test_decaying_precision_with_forward_update_keeps_the_direction():
    cosines = [cosine for cosine, _ in by_layer(deep(), ScheduledPC(schedule="decaying", steps=6))]
    assert min(cosines) > 0.999


def test_schedules_by_hand():
    arrival = {"y": 0, "b": 1, "a": 2}
    for step, expected in enumerate([(1, 1, 1), (0.1, 1, 1), (0.1, 0.1, 1), (0.1, 0.1, 0.1)]):
        found = Spiking(0.1).factors(arrival, step)
        np.testing.assert_allclose([found[n] for n in "yba"], expected)
    # 1 on arrival; e^-j (e - 1) / 100 later: 0.00632121, 0.00232544, 0.00085548.
    for step, expected in enumerate([1.0, 0.0063212056, 0.0023254416, 0.0008554821]):
        np.testing.assert_allclose(Decaying().factors(arrival, step)["y"], expected, rtol=1e-7)
        np.testing.assert_allclose(Decaying().factors(arrival, step + 2)["a"], expected, rtol=1e-7)
    total = sum(float(Decaying(0.7, 1.0).factors(arrival, j)["y"]) for j in range(1, 80))
    np.testing.assert_allclose(total, 1.0, rtol=1e-12)
    assert float(Constant({"b": 3.0}).factors(arrival, 5)["b"]) == 3.0
    assert float(Constant({"b": 3.0}).factors(arrival, 5)["y"]) == 1.0


@pytest.mark.parametrize("unroll", [True, False])
def test_a_schedule_acts_step_by_step(unroll):
    """Against descent written out with the same factors."""
    from oracles import relaxed

    example = deep()
    network, clamps = example.network, example.train
    end = relaxed(network, clamps, solver=Gradient(0.3), steps=7, schedule=Spiking(0.2), unroll=unroll)
    arrival = {"y": 0, "h4": 1, "h3": 2, "h2": 3, "h1": 4}

    def one(clamps):
        states = network.forward({"x": clamps["x"]}) | clamps
        for t in range(7):
            factor = {n: 1.0 if t <= first else 0.2 for n, first in arrival.items()}
            slope = jax.grad(lambda s: sum(f * network.energies(s)[n] for n, f in factor.items()))(states)  # noqa: B023
            states = states | {n: states[n] - 0.3 * slope[n] for n in ("h1", "h2", "h3", "h4")}
        return states

    close(end.states, jax.jit(jax.vmap(one))(dict(clamps)), atol=1e-13)


def test_a_schedule_needs_a_known_number_of_steps(mlp):
    from oracles import relaxed

    with pytest.raises(ValueError, match="a schedule needs a fixed number of steps"):
        relaxed(mlp.network, mlp.train, solver=Gradient(), steps=5, schedule=Spiking(), tolerance=1e-3)


def test_augmented_lagrangian_without_multipliers_is_predictive_coding():
    example = deep()
    found = signal(PCALM(0.1, multiplier_rate=0.0, steps=9), example)
    plain = signal(PC(Gradient(0.1), steps=9), example)
    close(found.gradient, plain.gradient, atol=1e-13)
    close(found.states, plain.relaxation.states, atol=1e-13)


@pytest.mark.parametrize("output", [None, Categorical()], ids=["squared", "categorical"])
def test_augmented_lagrangian_ends_at_backpropagation(output):
    example = deep(output)
    found = signal(PCALM(steps=6000), example)
    close(found.gradient, signal(BP(), example).gradient, atol=1e-8)
    forward = jax.vmap(lambda x: example.network.forward({"x": x}))(example.train["x"])
    close({n: found.states[n] for n in ("h1", "h4")}, {n: forward[n] for n in ("h1", "h4")}, atol=1e-8)


@pytest.mark.parametrize("phases", ["centred", "random"])
@pytest.mark.parametrize("output", [None, Categorical()], ids=["squared", "categorical"])
def test_equilibrium_propagation_points_along_backpropagation(phases, output):
    for sweeps, beta in ((5, 0.05), (10, 0.001)):
        found = by_layer(deep(output), EPNudging(beta, sweeps, phases))
        assert min(cosine for cosine, _ in found) > (0.93 if phases == "random" else 0.96)
    exact = by_layer(deep(output), EPNudging(1e-4, 60, "centred"))
    assert min(cosine for cosine, _ in exact) > 1 - 1e-6
    np.testing.assert_allclose([ratio for _, ratio in exact], 1.0, rtol=1e-4)


def test_too_few_sweeps_leave_the_first_layer_without_signal():
    gradient = dense_gradients(deep().network, signal(EPNudging(sweeps=1), deep()).gradient)
    sizes = [float(np.abs(np.asarray(W)).max()) for W, _ in gradient]
    assert sizes[-1] > 0
    assert max(sizes[:-1]) < 1e-12


def test_error_coding_after_one_step_and_at_published_settings():
    example = deep()
    one = signal(EPC(0.01, 1, safety=None), example)
    errors = jax.vmap(example.network.errors)(one.relaxation.states)
    h = jax.vmap(lambda x: example.network.forward({"x": x}))(example.train["x"])

    def loss(moved, x, y):
        states = {"x": x}
        for term in example.network.term_list:
            states[term.target] = term.predict(states) + moved.get(term.target, 0.0)
        return 0.5 * jnp.sum((states["y"] - y) ** 2)

    zeros = {n: jnp.zeros_like(h[n]) for n in ("h1", "h2", "h3", "h4")}
    deltas = jax.vmap(jax.grad(loss))(zeros, example.train["x"], example.train["y"])
    close({n: errors[n] for n in deltas}, jax.tree.map(lambda d: -0.01 * d, deltas), atol=1e-14)
    published = by_layer(example, EPC())
    assert min(cosine for cosine, _ in published) > 0.999
    np.testing.assert_allclose([ratio for _, ratio in published[:-1]], 1.0, rtol=0.01)
    np.testing.assert_allclose(published[-1][1], 200, rtol=0.01)  # the output layer is not scaled by the errors


def test_curvature_is_the_largest_eigenvalue():
    example = deep()
    network, clamps = example.network, example.train
    found = largest_curvature(network, clamps, coordinates=ErrorCoordinates(), iterations=200, key=jax.random.key(0))
    for i in range(3):
        sample = {n: v[i] for n, v in clamps.items()}
        free = frozenset(network.shapes) - set(sample)
        objective = everywhere(network, sample, ErrorCoordinates(), {}, free)
        shapes = {n: network.shapes[n] for n in sorted(free)}
        sizes = [int(np.prod(s)) for s in shapes.values()]

        def energy(flat_errors, objective=objective, shapes=shapes, sizes=sizes):
            ends = list(itertools.accumulate(sizes))
            parts = {n: flat_errors[e - s : e].reshape(shapes[n]) for n, s, e in zip(shapes, sizes, ends, strict=True)}
            return objective.total(objective.energies(parts))

        values = np.linalg.eigvalsh(np.asarray(jax.hessian(energy)(jnp.zeros(sum(sizes)))))
        np.testing.assert_allclose(found[i], np.abs(values).max(), rtol=1e-4)


def test_a_rate_below_the_curvature_bound_converges_and_one_above_diverges(chain):
    from oracles import relaxed

    curvature = largest_curvature(
        chain.network, chain.train, coordinates=ErrorCoordinates(), iterations=400, key=jax.random.key(0)
    )
    bound = 2 / float(curvature.max())
    for factor, ends in ((0.95, True), (1.05, False)):
        end = relaxed(
            chain.network, chain.train, solver=Gradient(factor * bound), steps=600, coordinates=ErrorCoordinates()
        )
        assert (float(end.residual.max()) < 1) == ends


def test_the_bound_holds_the_rate_and_is_measured_again(keys):
    example = deep()
    last = lambda n: n.term_list[-1].function.linear.weight  # noqa: E731
    network = eqx.tree_at(last, example.network, replace_fn=lambda w: 40 * w)
    clamps = dict(example.train)
    wild = EPC(0.5, 30, safety=None, optimiser=optax.sgd(0.0))
    held = EPC(0.5, 30, every=2, optimiser=optax.sgd(0.0))
    assert float(jnp.max(wild.signal(network, clamps, epoch=0, key=keys(0)).relaxation.residual)) > 1
    assert float(jnp.max(held.signal(network, clamps, epoch=0, key=keys(0)).relaxation.residual)) < 1
    state = held.init(example.network, key=keys(1))
    assert float(state.memory) == 0.5
    step = eqx.filter_jit(held.step)
    state, _ = step(eqx.tree_at(lambda s: s.network, state, network), clamps, key=keys(2))
    low = float(state.memory)
    assert low < 0.1
    state, _ = step(eqx.tree_at(lambda s: s.network, state, example.network), clamps, key=keys(3))
    assert float(state.memory) == low  # the second update does not measure
    state, _ = step(state, clamps, key=keys(4))
    assert float(state.memory) > low


def test_equilibrium_gradient_is_the_slope_of_the_least_energy():
    """Envelope theorem: dE*/dW by finite differences of the relaxed energy."""
    from oracles import relaxed

    from hookean.algorithms import GN
    from hookean.inference import GaussNewton

    example = deep()
    gradient = signal(GN(GaussNewton(3), 20), example).gradient
    place = lambda n: n.term_list[1].function.linear.weight  # noqa: E731

    def least(amount):
        network = eqx.tree_at(place, example.network, replace_fn=lambda w: w.at[2, 1].add(amount))
        end = relaxed(network, example.train, solver=GaussNewton(3), steps=20, coordinates=ErrorCoordinates())
        return float(jnp.mean(jax.vmap(network.energy)(end.states)))

    np.testing.assert_allclose((least(1e-4) - least(-1e-4)) / 2e-4, place(gradient)[2, 1], atol=1e-7)
