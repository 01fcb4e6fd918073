"""A linear Gaussian chain of depth 4 with unequal widths settles where one linear solve says."""

import diffrax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from oracles import LinearChain, close_all, dense_gradients, settled, signal

import hookean.algorithms as algorithms
import hookean.inference as inference
from hookean.algorithms.contract import AbstractAlgorithm
from hookean.core.coordinates import ErrorCoordinates, StateCoordinates
from hookean.core.initialise import Normal
from hookean.inference.relax import Result
from hookean.inference.solver import AbstractSolver
from hookean.registry import exported_classes

ALGORITHMS = exported_classes(algorithms, AbstractAlgorithm)
# The algorithms that take any solver and relax the energy as it is (a schedule relaxes another one, MCPC samples).
SETTLING = {
    name: kind
    for name, kind in ALGORITHMS.items()
    if isinstance(getattr(kind(), "solver", None), inference.Gradient) and name not in ("ScheduledPC", "MCPC")
}
# What each nudged algorithm pulls the output towards, with a strength of 0.4: beta, by class and epoch.
BETAS = {"PN": 0.4, "NN": -0.4, "CN": -0.4}


def expected_states(chain, clamps, beta=1.0):
    result = []
    for x, y in zip(np.asarray(clamps["x"]), np.asarray(clamps["y"]), strict=True):
        output = chain.forward(x)[-1]
        result.append(chain.settle(x, output + beta * (y - output)))
    return [np.stack(node) for node in zip(*result, strict=True)]


def mean_gradients(chain, nodes):
    samples = [chain.gradients([node[i] for node in nodes]) for i in range(len(nodes[0]))]
    return [tuple(np.mean([s[i][part] for s in samples], axis=0) for part in (0, 1)) for i in range(len(samples[0]))]


def check(network, clamps, relaxation, gradient, beta=1.0, atol=1e-9):
    chain = LinearChain(network)
    nodes = expected_states(chain, clamps, beta)
    for name, expected in zip(("x", "a", "b", "c", "y"), nodes, strict=True):
        np.testing.assert_allclose(relaxation.states[name], expected, atol=atol)
    wanted = [(W / beta, b / beta) for W, b in mean_gradients(chain, nodes)]
    close_all(dense_gradients(network, gradient), wanted, atol=atol / abs(beta))


def test_the_oracle_is_where_its_own_gradient_vanishes(chain):
    oracle = LinearChain(chain.network)
    states = oracle.settle(np.asarray(chain.train["x"][0]), np.asarray(chain.train["y"][0]))
    for i in range(1, 4):
        below = oracle.precisions[i - 1] @ (states[i] - oracle.weights[i - 1] @ states[i - 1] - oracle.biases[i - 1])
        above = oracle.precisions[i] @ (states[i + 1] - oracle.weights[i] @ states[i] - oracle.biases[i])
        np.testing.assert_allclose(below, oracle.weights[i].T @ above, atol=1e-12)


@pytest.mark.parametrize("name", SETTLING)
def test_every_relaxing_algorithm_settles_at_the_solution(name, chain):
    given = {"steps": 1500, "solver": inference.Gradient(0.3, 0.5)}
    if name in BETAS:
        given["nudge"] = algorithms.pn.Nudge(0.4)
    if name == "CN":
        given["signs"] = "-"
    found = signal(ALGORITHMS[name](**given), chain)
    check(chain.network, chain.train, found.relaxation, found.gradient, BETAS.get(name, 1.0))


def test_paired_nudging_has_no_bias_on_a_linear_chain(chain):
    """The settled states are linear in beta, so that the contrast is the derivative at beta = 0 plus odd terms only."""
    algorithm = algorithms.CN(algorithms.pn.Nudge(0.4), paired=True, steps=1500, solver=inference.Gradient(0.3, 0.5))
    found = signal(algorithm, chain)
    oracle = LinearChain(chain.network)
    plus = mean_gradients(oracle, expected_states(oracle, chain.train, 0.4))
    minus = mean_gradients(oracle, expected_states(oracle, chain.train, -0.4))
    wanted = [((V - W) / 0.8, (c - b) / 0.8) for (V, c), (W, b) in zip(plus, minus, strict=True)]
    close_all(dense_gradients(chain.network, found.gradient), wanted, atol=1e-8)


@pytest.mark.parametrize("coordinates", [StateCoordinates(), ErrorCoordinates()], ids=["state", "error"])
@pytest.mark.parametrize("initial", ["forward", "normal"])
def test_both_coordinates_settle_at_the_solution(coordinates, initial, chain, key):
    start = {} if initial == "forward" else {"initial": Normal(1.0)}
    solver = inference.Gradient(0.2, 0.5)

    run = settled(chain.network, chain.train, solver=solver, steps=2000, coordinates=coordinates, key=key, **start)
    check(chain.network, chain.train, *run[:2])


SOLVERS = {
    "Gradient": inference.Gradient(0.3, 0.5),
    "Gradient, nesterov": inference.Gradient(0.2, 0.7, True),
    "Optax": inference.Optax(optax.sgd(0.3, 0.5)),
    "GaussNewton": inference.GaussNewton(iterations=2),
    "Newton": inference.Newton(iterations=12),
    "Projected": inference.Projected(0.1, -50.0, 50.0),
    "LCA": inference.LCA(0.3),  # without a sparse term: descent
    "Flow": inference.Flow(duration=200.0, dt=0.2),
    "Flow, adaptive": inference.Flow(duration=400.0, dt=0.1, method=diffrax.Tsit5(), tolerance=1e-9),
    "Flow, implicit": inference.Flow(duration=400.0, dt=0.5, method=diffrax.Kvaerno3(), tolerance=1e-8),
    "Flow, time constants": inference.Flow(duration=200.0, dt=0.1, tau={"a": 0.5, "b": 2.0, "c": 1.2}),
}


def test_every_registered_solver_is_held_against_the_solution():
    assert {name.split(",")[0] for name in SOLVERS} >= {
        name for name, kind in exported_classes(inference, AbstractSolver).items() if not kind.stochastic
    }


@pytest.mark.parametrize("name", SOLVERS)
def test_every_solver_settles_at_the_solution(name, chain):
    special = {"GaussNewton": {"steps": 1, "coordinates": ErrorCoordinates()}, "Newton": {"steps": 4}}
    given = special.get(name, {"steps": 3000})
    end, gradient, _ = settled(chain.network, chain.train, solver=SOLVERS[name], **given)
    if SOLVERS[name].terminates:
        assert bool(jnp.all(end.result == Result.finished))
    check(chain.network, chain.train, end, gradient, atol=1e-6 if "Flow, " in name else 1e-9)
