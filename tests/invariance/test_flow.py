"""Energy falls along the flow, a stop is where it says it is, and a trace is what it says it is."""

import diffrax
import equinox as eqx
import examples
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from oracles import free_gradient, relaxed, size, start

import hookean.inference as inference
from hookean.core.coordinates import ErrorCoordinates, StateCoordinates
from hookean.inference import LCA, Flow, GaussNewton, Gradient, Newton, Optax, Projected
from hookean.inference.relax import Result
from hookean.inference.solver import AbstractSolver
from hookean.registry import exported_classes

SMALL = {
    "Gradient": Gradient(0.02),
    "Optax": Optax(optax.rmsprop(0.002)),
    "Flow": Flow(duration=1.0, dt=0.05),
    "GaussNewton": GaussNewton(damping=1.0, halvings=8),
    "Newton": Newton(iterations=4),
    "Projected": Projected(0.02, -9.0, 9.0),
    "LCA": LCA(0.02),  # without a sparse term: descent
}
ACYCLIC = {"GaussNewton"}  # it works in error coordinates
FLOWS = [
    (solver, name)
    for solver, kind in exported_classes(inference, AbstractSolver).items()
    if not kind.stochastic  # noise climbs
    for name in ("mlp", "cycle", "hopfield", "bidirectional")
    if name == "mlp" or solver not in ACYCLIC
]


@pytest.mark.parametrize(("solver", "name"), FLOWS)
def test_energy_never_rises(solver, name):
    """A newly registered solver must be given a small step above."""
    example = examples.build(name)
    given = {"coordinates": ErrorCoordinates()} if solver in ACYCLIC else {}
    given |= {"solver": SMALL[solver], "initial": example.initial}
    end = relaxed(example.network, example.train, steps=20, record=True, **given)
    energy = sum(end.trace.energies.values())
    for sample in energy:
        path = sample[np.isfinite(sample)]
        assert len(path) == 21
        assert np.all(np.diff(path) <= 1e-12)
        assert path[-1] < path[0] - 1e-3


@pytest.mark.parametrize("coordinates", [StateCoordinates(), ErrorCoordinates()], ids=["state", "error"])
def test_energy_never_rises_in_both_coordinates(coordinates, mlp):
    end = relaxed(mlp.network, mlp.train, solver=Gradient(0.02), steps=30, coordinates=coordinates, record=True)
    energy = sum(end.trace.energies.values())
    assert np.all(np.diff(energy, axis=1) < 0)


@pytest.mark.parametrize(("name", "unroll"), [("mlp", None), ("mlp", False), ("precisions", None), ("hopfield", False)])
def test_trace_holds_the_energies_and_slopes_of_every_point(name, unroll):
    """Point t is what t steps leave: energies by term, and the norm of the gradient in the free states."""
    example = examples.build(name)
    network, clamps = example.network, dict(example.train)
    given = {"solver": Gradient(0.1, 0.5), "initial": example.initial, "unroll": unroll}
    full = relaxed(network, clamps, steps=5, record=True, **given)
    assert full.trace.residual.shape == (examples.BATCH, 6)
    for steps in (0, 1, 3, 5):
        states = relaxed(network, clamps, steps=steps, **given).states
        energies = jax.jit(jax.vmap(network.energies))(states)
        for term, values in energies.items():
            np.testing.assert_allclose(full.trace.energies[term][:, steps], values, atol=1e-12)
        slopes = eqx.filter_jit(eqx.filter_vmap(lambda c, s: size(free_gradient(network, c, s))))(clamps, states)
        np.testing.assert_allclose(full.trace.residual[:, steps], slopes, atol=1e-12)


@pytest.mark.parametrize(("name", "mode"), [("mlp", "train"), ("hopfield", "recall")])
def test_stop_by_tolerance_is_where_the_residual_is_below_it(name, mode):
    example = examples.build(name)
    network, clamps = example.network, dict(example.modes[mode])
    tolerance = 0.02
    solver = Gradient(0.2)
    end = relaxed(network, clamps, solver=solver, steps=500, initial=example.initial, tolerance=tolerance, record=True)

    @eqx.filter_jit
    def slopes(states):
        return eqx.filter_vmap(lambda c, s: size(free_gradient(network, c, s)))(clamps, states)

    relative = slopes(end.states) / slopes(start(example, clamps))
    np.testing.assert_allclose(end.residual, relative, rtol=1e-9)
    assert np.all(relative <= tolerance)
    assert bool(jnp.all(end.result == Result.settled))
    for i, taken in enumerate(end.steps.tolist()):
        assert 0 < taken < 500
        path = end.trace.residual[i] / end.trace.residual[i, 0]
        assert np.all(path[:taken] > tolerance)  # not a step too late
        np.testing.assert_allclose(path[taken], relative[i], rtol=1e-9)
        assert np.all(np.isnan(path[taken + 1 :]))


def test_steps_that_run_out_are_said_to(mlp):
    end = relaxed(mlp.network, mlp.train, solver=Gradient(0.01), steps=3, tolerance=1e-6)
    assert bool(jnp.all(end.result == Result.unsettled))
    assert end.steps.tolist() == [3, 3, 3]
    plain = relaxed(mlp.network, mlp.train, solver=Gradient(0.01), steps=3)
    assert bool(jnp.all(plain.result == Result.stepped))


def test_nothing_to_relax_has_no_residual(mlp):
    end = relaxed(mlp.network, mlp.modes["predict"], solver=Gradient(0.1), steps=3, tolerance=1e-3)
    assert end.residual.tolist() == [0.0] * 3
    assert end.steps.tolist() == [0] * 3
    assert bool(jnp.all(end.result == Result.settled))


def test_flow_ends_at_its_duration_whatever_the_steps(chain):
    ends = [
        relaxed(chain.network, chain.train, solver=Flow(duration=1.0, dt=dt, method=diffrax.Tsit5()), steps=n)
        for dt, n in ((0.05, 100), (0.03, 100))
    ]
    assert ends[0].steps.tolist() == [20] * 3
    assert ends[1].steps.tolist() == [34] * 3  # the last step is the remainder
    for name in chain.network.shapes:
        np.testing.assert_allclose(ends[0].states[name], ends[1].states[name], atol=1e-5)
    assert all(bool(jnp.all(end.result == Result.finished)) for end in ends)
    short = relaxed(chain.network, chain.train, solver=Flow(duration=1.0, dt=0.05), steps=5)
    assert bool(jnp.all(short.result == Result.unsettled))
