"""What every registered solver, builder and switch of the relaxation must keep, and energies at extreme inputs."""

import inspect

import diffrax
import equinox as eqx
import examples
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from oracles import flat, relaxed

import hookean.core.builders as builders
import hookean.inference as inference
from hookean.core.activation import ACTIVATIONS
from hookean.core.coordinates import ErrorCoordinates
from hookean.core.density import DENSITIES, Gaussian
from hookean.core.initialise import Forward, Given, Normal, Sweeps, Zero
from hookean.core.network import Network
from hookean.core.parameters import count_parameters
from hookean.core.precision import DiagonalPrecision
from hookean.core.term import Prediction
from hookean.inference import LCA, Asynchronous, Flow, GaussNewton, Gradient, Langevin, Newton, Optax, Projected
from hookean.inference.curvature import largest_curvature
from hookean.inference.flow import METHODS
from hookean.inference.solver import AbstractSolver
from hookean.registry import exported_classes, exported_functions, nearest

SOLVERS = exported_classes(inference, AbstractSolver)
MADE = {
    "Gradient": Gradient(),
    "Optax": Optax(optax.adam(0.05)),
    "Flow": Flow(),
    "GaussNewton": GaussNewton(),
    "Newton": Newton(),
    "Langevin": Langevin(),
    "Projected": Projected(),
    "LCA": LCA(),
    "Asynchronous": Asynchronous(),
}
ERRORS = {"coordinates": ErrorCoordinates()}


@pytest.mark.parametrize("name", SOLVERS)
def test_solver_says_what_it_is(name):
    text = inspect.getdoc(SOLVERS[name])
    assert text.split("\n")[0].endswith(".")
    assert not {"Arguments:", "Cost:"} - set(text.split())
    for fact in ("rests", "terminates", "stochastic"):
        assert isinstance(getattr(MADE[name], fact), bool)


@pytest.mark.parametrize("name", SOLVERS)
def test_solver_moves_every_free_node_and_keeps_shapes(name, mlp):
    given = {"solver": MADE[name], "key": jax.random.key(1)} | (ERRORS if name == "GaussNewton" else {})
    end = relaxed(mlp.network, mlp.train, steps=8, **given)
    begin = relaxed(mlp.network, mlp.train, steps=0, **given)
    assert {n: v.shape[1:] for n, v in end.states.items()} == mlp.network.shapes
    for node in ("h1", "h2", "h3"):
        assert float(jnp.abs(end.states[node] - begin.states[node]).max()) > 1e-8


CHANGES = {
    "rate": (Gradient(0.05), Gradient(0.06)),
    "momentum": (Gradient(0.05), Gradient(0.05, 0.5)),
    "nesterov": (Gradient(0.05, 0.5), Gradient(0.05, 0.5, True)),
    "rule": (Optax(optax.sgd(0.05)), Optax(optax.adam(0.05))),
    "duration": (Flow(2.0), Flow(3.0)),
    "dt": (Flow(2.0), Flow(2.0, dt=0.2)),
    "method": (Flow(2.0), Flow(2.0, method=diffrax.Euler())),
    "tolerance": (Flow(2.0), Flow(2.0, tolerance=1e-4)),
    "tau": (Flow(2.0), Flow(2.0, tau={"h2": 3.0})),
    "iterations": (GaussNewton(1), GaussNewton(2)),
    "damping": (GaussNewton(), GaussNewton(damping=0.5)),
    "temperature": (Langevin(), Langevin(temperature=0.5)),
    "lower": (Projected(), Projected(lower=-0.5)),
    "upper": (Projected(), Projected(upper=0.1)),
    "solver": (Asynchronous(Gradient(0.05)), Asynchronous(Gradient(0.06))),
    "share": (Asynchronous(), Asynchronous(share=0.3)),
}


def test_every_solver_setting_is_tried():
    fields = {f for kind in SOLVERS.values() for f in kind.__dataclass_fields__ if f != "rests"}
    assert fields - {"halvings"} == set(CHANGES)  # halvings change a step only where it overshoots


@pytest.mark.parametrize("setting", CHANGES)
def test_every_solver_setting_changes_the_states(setting, mlp):
    pair = CHANGES[setting]
    given = {"steps": 40} if not isinstance(pair[0], GaussNewton) else {"steps": 1} | ERRORS
    given |= {"key": jax.random.key(1)}
    a, b = (relaxed(mlp.network, mlp.train, solver=solver, **given).states for solver in pair)
    assert np.abs(flat(a) - flat(b)).max() > 1e-9


@pytest.mark.parametrize("method", METHODS)
def test_every_named_method_integrates(method, mlp):
    """Against a fine explicit solution: each is at least of first order."""
    fine = relaxed(mlp.network, mlp.train, solver=Flow(1.0, 0.01, diffrax.Dopri5()), steps=200)
    end = relaxed(mlp.network, mlp.train, solver=Flow(1.0, 0.1, METHODS[method]()), steps=20)
    assert end.steps.tolist() == [10] * 3
    np.testing.assert_allclose(flat(end.states), flat(fine.states), atol=0.05)
    assert np.abs(flat(end.states) - flat(fine.states)).max() < 1e-3 or "euler" in method


def test_tolerance_of_the_relaxation_changes_the_number_of_steps(mlp):
    loose, tight = (
        relaxed(mlp.network, mlp.train, solver=Gradient(0.2), steps=400, tolerance=t).steps for t in (0.1, 0.001)
    )
    assert np.all(loose < tight)


@pytest.mark.parametrize("size", [200.0, -200.0])
@pytest.mark.parametrize("density", DENSITIES)
def test_extreme_logits_have_finite_energies_and_gradients(density, size):
    made = DENSITIES[density]()
    state = jnp.array([1.0, 0.0, 0.0])
    for logits in (jnp.array([size, 0.0, -size]), jnp.full(3, size)):
        energy, slope = jax.value_and_grad(made.energy, argnums=1)(state, logits)
        assert bool(jnp.all(jnp.isfinite(jnp.append(slope, energy))))
        assert bool(jnp.all(jnp.isfinite(made.mean(logits))))
    if density != "gaussian":
        wrong = made.energy(state, jnp.array([-200.0, 0.0, -300.0]))
        assert 199.0 < float(wrong) < 202.0


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_is_elementwise_and_finite(name):
    values = jnp.array([-50.0, -1.0, 0.3, 2.0, 50.0])
    out = ACTIVATIONS[name](values)
    assert out.shape == values.shape
    np.testing.assert_allclose(out, jnp.stack([ACTIVATIONS[name](v) for v in values]), atol=1e-12)
    assert bool(jnp.all(jnp.isfinite(out)))
    slopes = jax.vmap(jax.grad(ACTIVATIONS[name]))(values)
    assert bool(jnp.all(jnp.isfinite(slopes)))


@pytest.mark.parametrize("name", exported_functions(builders))
def test_builder_makes_a_network_that_runs(name, key):
    build = exported_functions(builders)[name]
    assert "Source:" in inspect.getdoc(build)
    images = name.startswith(("vgg", "resnet"))
    given = {"decoder": (3, 5)}.get(name, ((32, 32, 1), 4) if images else (6, 4))
    small = {"width": 1 / 64} if images else {"hidden": (5, 4)}
    small = {"width": 5, "depth": 2} if name == "residual_mlp" else small
    network = build(*given, **small, key=key)
    assert isinstance(network, Network)
    learned = jax.tree.leaves(eqx.filter(network, eqx.is_inexact_array))  # a graph also has which edges there are
    assert count_parameters(network) == sum(v.size for v in learned)
    other = build(*given, **small, key=jax.random.fold_in(key, 1))
    assert np.abs(flat([w for w in jax.tree.leaves(network) if hasattr(w, "size")])
                  - flat([w for w in jax.tree.leaves(other) if hasattr(w, "size")])).max() > 1e-3  # fmt: skip


def test_any_callable_serves_as_a_prediction():
    network = Network({"a": 2, "b": 2}, [Prediction("b", "a", jnp.cos)])
    states = {"a": jnp.array([0.0, jnp.pi]), "b": jnp.array([2.0, 1.0])}
    np.testing.assert_allclose(network.energy(states), 0.5 * (1 + 4), atol=1e-15)


def test_energy_is_the_sum_of_its_terms_by_name():
    example = examples.build("lateral")
    states = {n: jnp.full(s, 0.4) for n, s in example.network.shapes.items()}
    energies = example.network.energies(states)
    assert list(energies) == ["h1", "h2", "h3", "y", "inhibition", "bond"]
    np.testing.assert_allclose(example.network.energy(states), sum(energies.values()), atol=1e-14)
    np.testing.assert_allclose(energies["bond"], example.network.terms["bond"](states), atol=0)


def test_nearest_name_is_found_or_all_are_listed():
    assert nearest("h_1", ["x", "h1", "y"]).startswith("Did you mean 'h1'?")
    assert nearest("zzz", ["x", "h1"]) == "Known: h1, x."


SINGLE = {"Flow": Flow(1.0, dt=0.25), "FlowAdaptive": Flow(1.0, dt=0.25, tolerance=1e-2)}
SINGLE |= {"Newton": Newton(2), "GaussNewtonHalved": GaussNewton(2, halvings=2)}


@pytest.mark.parametrize("name", [*SOLVERS, "FlowAdaptive", "GaussNewtonHalved"])
def test_single_precision_stays_so_while_double_is_on(name):
    """A latent that nothing predicts, and a frozen precision of another type than the weights."""
    assert jax.config.jax_enable_x64
    example = examples.build("mlp" if name.startswith("Gauss") else "decoder")
    network, clamps = single(example.network), single(dict(example.train))
    terms = dict(network.terms)
    density = Gaussian(DiagonalPrecision(jnp.full(network.shapes["h1"], 2.0)))
    terms["h1"] = eqx.tree_at(lambda t: t.density, terms["h1"], density)
    network = Network(network.shapes, terms)
    given = {"solver": (MADE | SINGLE)[name], "steps": 2, "record": True, "unroll": False, "key": jax.random.key(1)}
    end = relaxed(network, clamps, **given, **(ERRORS if name.startswith("Gauss") else {}))
    assert {n: v.dtype for n, v in end.states.items()} == dict.fromkeys(network.shapes, jnp.float32)
    assert not bool(end.diverged().any())


def test_first_states_and_curvature_take_the_type_of_the_weights():
    network = single(examples.build("decoder").network)
    clamps = single({name: value[0] for name, value in examples.build("decoder").train.items()})
    for initial in (Forward(), Zero(), Sweeps(), Normal(), Given({})):
        start = initial(network, clamps, key=jax.random.key(1))
        assert {v.dtype for v in start.values()} == {jnp.dtype("float32")}
    batch = jax.tree.map(lambda value: value[None], clamps)
    found = largest_curvature(network, batch, coordinates=ErrorCoordinates(), iterations=2, key=jax.random.key(1))
    assert found.dtype == jnp.float32
    assert float(found[0]) > 1


def single(tree):
    """Return the tree with every number in single precision."""
    return jax.tree.map(lambda leaf: leaf.astype(jnp.float32) if eqx.is_inexact_array(leaf) else leaf, tree)
