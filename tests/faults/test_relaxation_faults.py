"""Failures at run time are named results with a remedy, never silence."""

import equinox as eqx
import jax.numpy as jnp
import optax
import pytest
from oracles import relaxed

import hookean.algorithms as algorithms
from hookean.algorithms.contract import AbstractAlgorithm
from hookean.core.initialise import Given
from hookean.core.network import Network
from hookean.core.term import Coupling
from hookean.inference import Flow, Gradient
from hookean.inference.relax import Result
from hookean.registry import exported_classes

RELAXING = {
    name: kind
    for name, kind in exported_classes(algorithms, AbstractAlgorithm).items()
    if "solver" in kind.__dataclass_fields__ and isinstance(kind().solver, Gradient)
}


def test_messages_name_a_remedy():
    assert "Lower the state rate" in Result[Result.diverged]
    assert "no longer finite" in Result[Result.diverged]
    assert "Allow more steps" in Result[Result.unsettled]
    assert (
        len({Result[r] for r in (Result.stepped, Result.settled, Result.finished, Result.unsettled, Result.diverged)})
        == 5
    )


@pytest.mark.parametrize(("tolerance", "unroll"), [(None, None), (None, False), (1e-3, None)])
def test_divergence_is_a_result(tolerance, unroll, chain):
    end = relaxed(chain.network, chain.train, solver=Gradient(1e3), steps=300, tolerance=tolerance, unroll=unroll)
    assert bool(jnp.all(end.result == Result.diverged))
    assert end.diverged().tolist() == [True] * 3


def test_overflow_of_the_gradient_is_divergence_although_states_are_finite():
    """E = exp(x1 + x2) - x3 has an infinite slope at x1 + x2 = 800, beyond the largest number."""
    network = Network({"x": 3, "c": 1}, {"e": Coupling("x", lambda x: jnp.exp(x[0] + x[1]) - x[2])})
    begin = Given({"x": jnp.array([[400.0, 400.0, 0.0], [0.0, 0.0, 0.0]])})
    end = relaxed(network, {"c": jnp.zeros((2, 1))}, solver=Gradient(0.1), steps=5, initial=begin, tolerance=1e-9)
    assert bool(jnp.all(jnp.isfinite(end.states["x"])))
    assert end.diverged().tolist() == [True, False]
    assert end.steps.tolist() == [0, 5]


def test_only_the_sample_that_diverges_is_said_to(chain):
    clamps = {n: v.at[1].set(jnp.inf) if n == "y" else v for n, v in chain.train.items()}
    end = relaxed(chain.network, clamps, solver=Gradient(0.1), steps=4)
    assert end.diverged().tolist() == [False, True, False]


@pytest.mark.parametrize("tolerance", [None, 1e-3])
@pytest.mark.parametrize("solver", [Gradient(0.1), Flow(1.0, 0.2)])
def test_not_a_number_in_the_data_is_a_result(solver, tolerance, mlp):
    clamps = {n: v.at[2, 0].set(jnp.nan) if n == "x" else v for n, v in mlp.train.items()}
    end = relaxed(mlp.network, clamps, solver=solver, steps=6, tolerance=tolerance)
    assert end.diverged().tolist() == [False, False, True]


@pytest.mark.parametrize("name", RELAXING)
def test_algorithms_report_the_fraction_that_diverged(name, mlp, key):
    """x^4 on a hidden node: a rate of 1000 leaves the finite numbers within a few steps."""
    steep = mlp.network.terms | {"steep": Coupling("h1", lambda h: jnp.sum(h**4))}
    network = Network(mlp.network.shapes, steep, input="x", output="y")
    for rate, low, high in ((1e3, 0.99, 1.01), (1e-3, -0.01, 0.01)):
        given = {"forward_update": False} if name == "ScheduledPC" else {}
        given |= {"warm": 12} if name == "MCPC" else {"steps": 12}
        algorithm = RELAXING[name](solver=Gradient(rate), optimiser=optax.sgd(0.0), **given)
        _, info = eqx.filter_jit(algorithm.step)(algorithm.init(network, key=key), dict(mlp.train), key=key)
        assert low < float(info.diverged) < high
