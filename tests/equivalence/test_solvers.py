"""Solvers against the rules that they stand for, and stopping against running on."""

import diffrax
import equinox as eqx
import examples
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from oracles import close, descend, free_gradient, relaxed, signal, start

from hookean.algorithms import IPC, PC
from hookean.algorithms.contract import forward_outputs
from hookean.inference import Flow, Gradient, Optax
from hookean.learning.energy_gradient import energy_gradient


@pytest.mark.parametrize("given", [(0.07,), (0.07, 0.6), (0.07, 0.6, True)])
def test_gradient_is_optax_sgd(given, mlp):
    rate, momentum, nesterov = (*given, None, False)[:3] if len(given) < 3 else given
    a = relaxed(mlp.network, mlp.train, solver=Gradient(*given), steps=6)
    b = relaxed(mlp.network, mlp.train, solver=Optax(optax.sgd(rate, momentum, bool(nesterov))), steps=6)
    close(a.states, b.states, atol=1e-15)


def test_a_rule_may_name_its_nodes(mlp):
    rules = {"slow": optax.sgd(0.02), "fast": optax.sgd(0.2)}
    solver = Optax(optax.multi_transform(rules, {"h1": "slow", "h2": "fast", "h3": "slow"}))
    assert not solver.rests
    rates = {"h1": 0.02, "h2": 0.2, "h3": 0.02}
    end = relaxed(mlp.network, mlp.train, solver=solver, steps=2)
    states = start(mlp, mlp.train)
    for _ in range(2):
        gradient = jax.vmap(lambda s: free_gradient(mlp.network, {"x": s["x"], "y": s["y"]}, s))(states)
        states = states | {n: states[n] - rates[n] * g for n, g in gradient.items()}
    close(end.states, {n: states[n] for n in end.states}, atol=1e-13)


@pytest.mark.parametrize("name", ["mlp", "conv"])
def test_momentum_by_hand(name):
    """v <- m v + g, x <- x - rate v, from v = 0 for every batch."""
    example = examples.build(name)
    network, clamps = example.network, dict(example.train)

    @eqx.filter_jit
    def by_hand(states):
        speed = {n: jnp.zeros_like(v) for n, v in states.items() if n not in clamps}
        for _ in range(5):
            gradient = eqx.filter_vmap(lambda c, s: free_gradient(network, c, s))(clamps, states)
            speed = {n: 0.6 * speed[n] + g for n, g in gradient.items()}
            states = states | {n: states[n] - 0.05 * v for n, v in speed.items()}
        return states

    expected = by_hand(start(example, clamps))
    for _ in range(2):  # the second relaxation starts from rest again
        end = relaxed(network, clamps, solver=Gradient(0.05, 0.6), steps=5)
        close(end.states, {n: expected[n] for n in end.states}, atol=1e-13)


def test_euler_flow_is_gradient_descent(mlp):
    flow = relaxed(mlp.network, mlp.train, solver=Flow(duration=1.0, dt=0.125, method=diffrax.Euler()), steps=50)
    path = jax.jit(lambda: descend(mlp.network, mlp.train, start(mlp, mlp.train), rate=0.125, steps=8))()
    assert flow.steps.tolist() == [8, 8, 8]
    close(flow.states, {n: path[n][8] for n in flow.states}, atol=1e-13)


def test_time_constant_divides_the_rate(mlp):
    tau = {"h1": 2.0, "h3": 0.5}
    flow = Flow(duration=0.5, dt=0.1, method=diffrax.Euler(), tau=tau)
    end = relaxed(mlp.network, mlp.train, solver=flow, steps=20)
    states = start(mlp, mlp.train)
    for _ in range(5):
        gradient = jax.vmap(lambda s: free_gradient(mlp.network, {"x": s["x"], "y": s["y"]}, s))(states)
        states = states | {n: states[n] - 0.1 / tau.get(n, 1.0) * g for n, g in gradient.items()}
    close(end.states, {n: states[n] for n in end.states}, atol=1e-13)


@pytest.mark.parametrize(("method", "order"), [(diffrax.Euler(), 1), (diffrax.Heun(), 2)])
def test_flow_converges_with_the_order_of_its_method(method, order, chain):
    """Against the exact solution of the linear flow by the matrix exponential of the Hessian."""
    network, clamps = chain.network, {n: v[0] for n, v in chain.train.items()}
    begin = {n: v[0] for n, v in start(chain, chain.train).items()}
    free = {n: begin[n] for n in ("a", "b", "c")}
    vector, rebuild = jax.flatten_util.ravel_pytree(free)

    def energy(v):
        return network.energy(clamps | rebuild(v))

    hessian, slope = np.asarray(jax.hessian(energy)(vector)), np.asarray(jax.grad(energy)(vector))
    values, vectors = np.linalg.eigh(hessian)
    time = 1.0
    exact = vector - vectors @ ((1 - np.exp(-values * time)) / values * (vectors.T @ slope))
    steps = np.array([0.1, 0.05, 0.025])
    errors = []
    for dt in steps:
        flow = Flow(duration=time, dt=float(dt), method=method)
        end = relaxed(network, {n: v[None] for n, v in clamps.items()}, solver=flow, steps=100)
        found = np.concatenate([end.states[n][0] for n in ("a", "b", "c")])
        errors.append(np.linalg.norm(found - exact))
    assert abs(np.polyfit(np.log(steps), np.log(errors), 1)[0] - order) < 0.25, errors


def test_stopping_by_tolerance_is_running_on(mlp):
    """The states where a sample stopped are those of the same number of steps without a tolerance."""
    given = {"solver": Gradient(0.1, 0.5)}
    stopped = relaxed(mlp.network, mlp.train, steps=400, tolerance=1e-3, **given)
    assert len(set(stopped.steps.tolist())) > 1
    for i, steps in enumerate(stopped.steps.tolist()):
        on = relaxed(mlp.network, mlp.train, steps=steps, **given)
        for name in mlp.network.shapes:
            np.testing.assert_allclose(stopped.states[name][i], on.states[name][i], atol=1e-13)
    far = relaxed(mlp.network, mlp.train, steps=4000, tolerance=1e-12, **given)
    close(far.states, relaxed(mlp.network, mlp.train, steps=4000, **given).states, atol=1e-9)


@pytest.mark.parametrize("weights_from", [0, 2])
def test_incremental_steps_move_states_and_weights_from_the_same_point(weights_from, mlp, key):
    """Written out: the weights learn from the states before they move, the states from the weights before they do."""
    network, batch = mlp.network, dict(mlp.train)
    algorithm = IPC(Gradient(0.1), steps=4, weights_from=weights_from, optimiser=optax.sgd(0.3))

    @eqx.filter_jit
    def by_hand(network):
        states = start(mlp, batch)
        for t in range(4):
            slope = jax.vmap(lambda s, n=network: free_gradient(n, {"x": s["x"], "y": s["y"]}, s))(states)
            if t >= weights_from:
                gradient, energies = energy_gradient(network, states)
                updated = eqx.apply_updates(network, jax.tree.map(lambda g: -0.3 * g, gradient))
            else:
                updated = network
            states = states | {n: states[n] - 0.1 * g for n, g in slope.items()}
            network = updated
        return network, energies

    state, info = eqx.filter_jit(algorithm.step)(algorithm.init(network, key=key), batch, key=key)
    expected, energies = by_hand(network)
    close(eqx.filter(state.network, eqx.is_array), eqx.filter(expected, eqx.is_array), atol=1e-13)
    close(info.energies, energies, atol=1e-13)
    close(info.outputs, eqx.filter_jit(forward_outputs)(network, batch), atol=1e-15)
    assert int(state.updates) == algorithm.updates_per_batch() == 4 - weights_from


def test_incremental_with_the_last_step_learning_is_predictive_coding_one_step_earlier(mlp, key):
    last = IPC(Gradient(0.1), steps=5, weights_from=4, optimiser=optax.sgd(0.3))
    plain = PC(Gradient(0.1), steps=4, optimiser=optax.sgd(0.3))
    ends = [eqx.filter_jit(a.step)(a.init(mlp.network, key=key), dict(mlp.train), key=key)[0] for a in (last, plain)]
    close(*(eqx.filter(end.network, eqx.is_array) for end in ends), atol=1e-13)
    close(signal(last, mlp).gradient, signal(plain, mlp).gradient, atol=1e-13)
