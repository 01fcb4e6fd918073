"""Gauss-Newton in output space lands where the other solvers crawl to."""

import equinox as eqx
import examples
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import LinearChain, close, flat, relaxed, settled, signal

from hookean.algorithms import BP, GN
from hookean.algorithms.gn import saturating_factor
from hookean.core.builders import mlp, residual_mlp
from hookean.core.coordinates import ErrorCoordinates
from hookean.core.density import Categorical, Gaussian
from hookean.inference import GaussNewton, Gradient
from hookean.inference.objective import everywhere
from hookean.inference.schedule import Constant

ERRORS = ErrorCoordinates()


def deep(seed, *, precision=1.0, output=None, depth=4):
    network = mlp(
        6, 3, hidden=(5,) * depth, activation=jnp.tanh, orthogonal=1.3, precision=precision,
        output=output or Gaussian(), key=jax.random.key(seed),
    )  # fmt: skip
    return network, {"x": examples.values(3, 6), "y": examples.one_hot(3)}


def total(network, end):
    return np.asarray(sum(jax.vmap(network.energies)(end.states).values()))


def test_one_step_solves_a_linear_network(chain):
    """Hidden precisions are scalar, diagonal and full; two outputs need two iterations."""
    end = relaxed(chain.network, chain.train, solver=GaussNewton(2), steps=1, coordinates=ERRORS)
    oracle = LinearChain(chain.network)
    for i, (x, y) in enumerate(zip(chain.train["x"], chain.train["y"], strict=True)):
        for name, expected in zip("xabcy", oracle.settle(np.asarray(x), np.asarray(y)), strict=True):
            np.testing.assert_allclose(end.states[name][i], expected, atol=1e-12)
    assert float(end.residual.max()) < 1e-12


@pytest.mark.parametrize("output", [Gaussian(), Gaussian(0.3), Categorical()], ids=["squared", "weak", "categorical"])
@pytest.mark.parametrize("precision", [1.0, 20.0])
def test_the_energy_is_that_of_ten_thousand_small_steps(output, precision):
    network, clamps = deep(1, precision=precision, output=output)
    newton = relaxed(network, clamps, solver=GaussNewton(3, halvings=8), steps=100, coordinates=ERRORS)
    crawl = relaxed(network, clamps, solver=Gradient(0.1 / precision), steps=10_000, coordinates=ERRORS)
    np.testing.assert_allclose(total(network, newton), total(network, crawl), atol=1e-6)
    assert float(newton.residual.max()) < 1e-3


@pytest.mark.parametrize("name", ["mlp", "skip", "sources", "conv", "categorical", "bernoulli", "precisions"])
def test_every_acyclic_network_settles(name):
    example = examples.build(name)
    clamps = example.train
    end = relaxed(
        example.network, clamps, solver=GaussNewton(4, halvings=6), steps=20, coordinates=ERRORS, unroll=False
    )
    assert float(end.residual.max()) < 1e-4
    slow = relaxed(example.network, clamps, solver=Gradient(0.05), steps=4000, coordinates=ERRORS)
    close(end.states, slow.states, atol=2e-3)


def test_passes_that_are_written_out_by_hand(mlp):
    """One iteration against dense algebra on the Jacobian: e - z + alpha D^-1 A' A z."""
    network, clamps = mlp.network, {n: v[0] for n, v in mlp.train.items()}
    free = frozenset(network.shapes) - set(clamps)
    objective = everywhere(network, clamps, ERRORS, {}, free)
    errors = {n: jax.random.normal(jax.random.key(i), network.shapes[n]) for i, n in enumerate(sorted(free))}
    gradient = objective.gradient(errors)
    moved, _ = eqx.filter_jit(GaussNewton(1).step)(objective, errors, gradient, (), key=jax.random.key(0))

    def output(errors):
        return network.predictions(ERRORS.states(network, errors, clamps))["y"]

    J = np.concatenate([np.asarray(jax.jacobian(output)(errors)[n]) for n in errors], axis=1)
    e, z = (np.concatenate([np.asarray(tree[n]) for n in errors]) for tree in (errors, gradient))
    b = J @ z
    alpha = (b @ b) / (b @ b + b @ J @ J.T @ b)
    expected = e - z + alpha * J.T @ b
    np.testing.assert_allclose(np.concatenate([np.asarray(moved[n]) for n in errors]), expected, atol=1e-12)


def test_damped_output_error_in_a_linear_network():
    """The output's error is S^-1 r with S = I + J J' / gamma, the energy half of r' S^-1 r."""
    network = mlp(4, 3, hidden=(5, 6), activation=lambda x: x, precision=7.0, key=jax.random.key(3))
    clamps = {"x": examples.values(1, 4), "y": examples.values(2, 3)}
    end = relaxed(network, clamps, solver=GaussNewton(3), steps=1, coordinates=ERRORS)
    W = [np.asarray(term.function.linear.weight) for term in network.term_list]
    S = np.eye(3) + (W[2] @ W[2].T + W[2] @ W[1] @ W[1].T @ W[2].T) / 7.0
    forward = np.asarray(jax.vmap(lambda x: network.forward({"x": x})["y"])(clamps["x"]))
    r = np.asarray(clamps["y"]) - forward
    error = jax.vmap(network.errors)(end.states)["y"]
    np.testing.assert_allclose(error, np.linalg.solve(S, r.T).T, atol=1e-12)
    np.testing.assert_allclose(total(network, end), 0.5 * np.sum(r * np.linalg.solve(S, r.T).T, axis=1), atol=1e-12)


def test_first_order_sends_the_damped_error_through_the_forward_pass():
    """In a linear network: -S^-1 r x', through the transposed weights, with sources at the forward states."""
    network = mlp(4, 3, hidden=(5, 6), activation=lambda x: x, precision=7.0, key=jax.random.key(3))
    clamps = {"x": examples.values(1, 4), "y": examples.values(2, 3)}
    example = examples.Example(network, {"train": clamps})
    found = signal(GN(GaussNewton(3), steps=1, first_order=True), example)
    W = [np.asarray(term.function.linear.weight) for term in network.term_list]
    S = np.eye(3) + (W[2] @ W[2].T + W[2] @ W[1] @ W[1].T @ W[2].T) / 7.0
    h = jax.vmap(lambda x: network.forward({"x": x}))(clamps["x"])
    error = np.linalg.solve(S, (np.asarray(clamps["y"]) - np.asarray(h["y"])).T).T
    sent = [error @ W[2] @ W[1], error @ W[2], error]
    for term, e, source in zip(found.gradient.term_list, sent, ("x", "h1", "h2"), strict=True):
        np.testing.assert_allclose(term.function.linear.weight, -e.T @ np.asarray(h[source]) / len(error), atol=1e-12)
    settled = signal(GN(GaussNewton(3), steps=1), example)
    assert found.energies.keys() == settled.energies.keys()
    for name, energy in settled.energies.items():
        np.testing.assert_allclose(float(found.energies[name]), float(energy), rtol=1e-12)
    assert np.linalg.norm(flat(found.gradient) - flat(settled.gradient)) > 1e-2 * np.linalg.norm(flat(settled.gradient))


@pytest.mark.parametrize("saturation", [None, 2.0], ids=["given", "measured"])
@pytest.mark.parametrize("output", [Gaussian(), Gaussian(0.3), Categorical()], ids=["squared", "weak", "categorical"])
def test_first_order_is_backpropagation_to_another_target(output, saturation):
    """BP of <slope at the equilibrium, prediction>, the slope from the relaxed states that the signal shows."""
    network, clamps = deep(9, precision=2.0, output=output)
    rule = GN(GaussNewton(3), steps=6, saturation=saturation, first_order=True)
    found = signal(rule, examples.Example(network, {"train": clamps}))
    last = network.terms["y"]
    slope = jax.vmap(lambda x: jax.grad(last.density.energy, argnums=1)(x["y"], last.predict(x)))(
        found.relaxation.states
    )

    def loss(model):
        outputs = jax.vmap(lambda x: model.predictions(model.forward({"x": x}))["y"])(clamps["x"])
        return jnp.sum(slope * outputs) / len(outputs)

    expected = eqx.filter_grad(loss)(network)
    weights = [leaf for term in expected.term_list for leaf in jax.tree.leaves(term.function)]
    np.testing.assert_allclose(flat(found.gradient), np.concatenate([np.ravel(leaf) for leaf in weights]), atol=1e-12)


@pytest.mark.parametrize("output", [Gaussian(), Categorical()], ids=["squared", "categorical"])
def test_stiff_errors_give_backpropagation(output):
    for precision, least in ((1e4, 1e-3), (1e6, 1e-5)):
        network, clamps = deep(2, precision=precision, output=output)
        example = examples.Example(network, {"train": clamps})
        found, exact = flat(signal(GN(), example).gradient), flat(signal(BP(), example).gradient)
        assert np.linalg.norm(found - exact) < least * np.linalg.norm(exact)
    soft, clamps = deep(2, precision=0.1, output=output)
    example = examples.Example(soft, {"train": clamps})
    found, exact = flat(signal(GN(steps=8), example).gradient), flat(signal(BP(), example).gradient)
    assert np.linalg.norm(found - exact) > 0.3 * np.linalg.norm(exact)


def test_factors_are_precisions():
    stiff, clamps = deep(4, precision=9.0)
    unit, _ = deep(4)
    hidden = {name: 9.0 for name in unit.term_names if name != "y"}
    given = {"solver": GaussNewton(2), "steps": 3, "coordinates": ERRORS}
    loaded = relaxed(unit, clamps, schedule=Constant(hidden), **given)
    close(loaded.states, relaxed(stiff, clamps, **given).states, atol=1e-12)


def test_cross_entropy_is_stable_in_single_precision():
    with jax.enable_x64(False):
        network = mlp(6, 10, hidden=(16,) * 12, orthogonal=2**0.5, output=Categorical(), key=jax.random.key(5))
        last = lambda n: n.term_list[-1].function.linear.weight  # noqa: E731
        network = eqx.tree_at(last, network, replace_fn=lambda w: 30 * w)
        clamps = {"x": jax.random.normal(jax.random.key(1), (5, 6)), "y": jax.nn.one_hot(jnp.arange(5), 10)}
        given = {"coordinates": ERRORS, "unroll": False}
        end = relaxed(network, clamps, solver=GaussNewton(3, halvings=8), steps=10, **given)
        start = relaxed(network, clamps, solver=GaussNewton(3), steps=0, **given)
        assert end.states["h1"].dtype == jnp.float32
        assert not bool(end.diverged().any())
        assert np.all(total(network, end) < total(network, start))


def test_halvings_never_raise_the_energy():
    """A bad start on a soft network, where the full step overshoots."""
    network, clamps = deep(6, precision=0.01, output=Categorical(), depth=8)
    guarded = GaussNewton(3, halvings=10)
    given = {"coordinates": ERRORS, "record": True, "unroll": False}
    end = relaxed(network, clamps, solver=guarded, steps=4, **given)
    energies = np.sum(list(end.trace.energies.values()), axis=0)
    assert energies.shape == (3, 5)
    assert np.all(energies[:, 1:] <= energies[:, :-1] * (1 + 1e-12))
    bare = relaxed(network, clamps, solver=GaussNewton(3), steps=4, **given)
    assert np.any(np.diff(np.sum(list(bare.trace.energies.values()), axis=0)) > 0)
    damped = relaxed(network, clamps, solver=GaussNewton(3, damping=5.0), steps=1, coordinates=ERRORS)
    full = relaxed(network, clamps, solver=GaussNewton(3), steps=1, coordinates=ERRORS)
    short, long = (np.linalg.norm(jax.vmap(network.errors)(end.states)["h1"]) for end in (damped, full))
    assert 0 < short < long


@pytest.mark.parametrize(
    ("name", "mode", "message"),
    [
        ("hopfield", "train", "terms that are predictions"),
        ("decoder", "train", "nothing predicts"),
        ("bidirectional", "train", "needs"),
        ("cycle", "train", "topological order"),
    ],
)
def test_networks_it_cannot_serve_are_refused(name, mode, message):
    example = examples.build(name)
    with pytest.raises(ValueError, match=message):
        relaxed(
            example.network, example.modes[mode], solver=GaussNewton(), steps=1, coordinates=ERRORS,
            initial=example.initial,
        )  # fmt: skip


def test_state_coordinates_are_refused(mlp):
    with pytest.raises(ValueError, match="ErrorCoordinates"):
        relaxed(mlp.network, mlp.train, solver=GaussNewton(), steps=1)


def test_a_residual_network_of_many_layers_settles_in_the_same_steps():
    found = []
    for depth in (4, 12, 36):
        network = residual_mlp(
            6, 3, width=8, depth=depth, activation=jnp.tanh, precision=10.0 * depth, key=jax.random.key(7)
        )
        clamps = {"x": examples.values(3, 6), "y": examples.one_hot(3)}
        end, gradient, _ = settled(network, clamps, solver=GaussNewton(2), steps=2, coordinates=ERRORS, unroll=False)
        found.append(float(jnp.median(end.residual)))
        assert all(np.abs(np.asarray(leaf)).max() > 0 for leaf in jax.tree.leaves(gradient))
    assert max(found) < 1e-2


@pytest.mark.parametrize("output", [Gaussian(), Categorical()], ids=["squared", "categorical"])
@pytest.mark.parametrize("saturation", [0.1, 2.0])
def test_precision_follows_the_curvature(output, saturation):
    """r' J J' r / gamma = kappa r' r on average, by dense Jacobians; and the weights learn from that energy."""
    network, clamps = deep(8, precision=3.0, output=output)
    factor = saturating_factor(network, clamps, saturation)

    def one(clamps):
        def drive(errors):
            return network.predictions(ERRORS.states(network, errors, clamps))["y"]

        zero = {n: jnp.zeros(network.shapes[n]) for n in ("h1", "h2", "h3", "h4")}
        J = jnp.concatenate(list(jax.jacobian(drive)(zero).values()), axis=1)
        r = jax.grad(network.terms["y"].density.energy, argnums=1)(clamps["y"], drive(zero))
        return r @ J @ J.T @ r, r @ r

    inner, size = jax.vmap(one)(clamps)
    np.testing.assert_allclose(factor, jnp.mean(inner) / 3.0 / jnp.mean(size) / saturation, rtol=1e-12)
    stiff, _ = deep(8, precision=3.0 * float(factor), output=output)
    given = {"solver": GaussNewton(3), "steps": 4}
    found = signal(GN(saturation=saturation, **given), examples.Example(network, {"train": clamps}))
    fixed = signal(GN(**given), examples.Example(stiff, {"train": clamps}))
    np.testing.assert_allclose(flat(found.gradient), flat(fixed.gradient), atol=1e-12)
    np.testing.assert_allclose(float(found.network.term_list[0].density.precision.factor), float(factor), rtol=1e-12)
    assert found.energies.keys() == fixed.energies.keys()
