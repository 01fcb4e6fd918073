"""What nudged gradients tend to as beta goes to zero: one side in first order, both sides in second.

Where beta weighs a loss at a free output, the limit is backpropagation. Where the output is held at u0 + beta (y - u0),
the limit is backpropagation with the residual r replaced by r / S, S = I + sum of P P' over the hidden nodes, with P
the slope of the output in a hidden node at the forward states: the damping of predictive coding's equilibrium.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import flat, signal

from hookean.algorithms import BP, CN, NN, PN
from hookean.algorithms.nudging import Nudge
from hookean.core.network import Network
from hookean.core.term import Coupling
from hookean.inference import Gradient
from hookean.inference.relax import relax
from hookean.learning.contrast import centred
from hookean.learning.energy_gradient import energy_gradient

BETAS = np.array([0.04, 0.02, 0.01, 0.005])
SOLVER = Gradient(0.1, 0.8)
STEPS = 400
GIVEN = {"solver": SOLVER, "steps": STEPS}
KINDS = {
    "positive": (PN(Nudge(0.5), **GIVEN), 1),
    "negative": (NN(Nudge(0.5), **GIVEN), 1),
    "centred, one sign": (CN(Nudge(0.5), "-", **GIVEN), 1),
    "centred, paired": (CN(Nudge(0.5), paired=True, **GIVEN), 2),
}


def damped(example):
    """Return the gradient of backpropagation with r / S for the residual, by Jacobians of a plain function."""
    weights = [(t.function.linear.weight, t.function.linear.bias) for t in example.network.term_list]

    def output(weights, x, shifts):
        for (W, b), shift in zip(weights[:-1], shifts, strict=True):
            x = jnp.tanh(W @ x + b) + shift
        return weights[-1][0] @ x + weights[-1][1]

    def one(x, y):
        rest = [jnp.zeros(len(b)) for _, b in weights[:-1]]
        slopes = jax.jacrev(output, argnums=2)(weights, x, rest)
        S = jnp.eye(len(y)) + sum(P @ P.T for P in slopes)
        pulled, back = jax.vjp(lambda w: output(w, x, rest), weights)
        return back(-jnp.linalg.solve(S, y - pulled))[0]

    each = jax.jit(jax.vmap(one))(example.train["x"], example.train["y"])
    return flat(jax.tree.map(lambda g: jnp.mean(g, axis=0), each))


def over_betas(gradient):
    """Return the gradient for every beta as vectors; one program serves all of them."""
    found = jax.jit(jax.vmap(gradient))(jnp.array(BETAS))
    return [flat(jax.tree.map(lambda leaf, i=i: leaf[i], found)) for i in range(len(BETAS))]


def deviations(vectors, limit):
    return np.array([np.linalg.norm(v - limit) for v in vectors]) / np.linalg.norm(limit)


def order(found):
    return np.polyfit(np.log(BETAS), np.log(found), 1)[0]


def held(example, algorithm):
    def gradient(beta):
        nudged = eqx.tree_at(lambda a: a.nudge.beta, algorithm, beta)
        return nudged.signal(example.network, dict(example.train), epoch=0, key=jax.random.key(0)).gradient

    return over_betas(gradient)


@pytest.mark.parametrize("kind", KINDS)
def test_held_output_tends_to_the_damped_gradient(kind, mlp):
    algorithm, expected = KINDS[kind]
    found = deviations(held(mlp, algorithm), damped(mlp))
    assert abs(order(found) - expected) < 0.1, found
    assert found[-1] < 0.05


def test_centred_has_the_smaller_deviation(mlp):
    limit = damped(mlp)
    both, one = (deviations(held(mlp, KINDS[k][0]), limit) for k in ("centred, paired", "positive"))
    assert np.all(both < 0.3 * one)


def test_damping_is_not_backpropagation(mlp):
    """A guard for the tests above: the two limits differ."""
    bp = flat(signal(BP(), mlp).gradient)
    assert np.linalg.norm(damped(mlp) - bp) > 0.1 * np.linalg.norm(bp)


def weighed(example):
    """Return the gradients at rest of E + beta |y - target|^2 / 2 with a free output, by sign of beta."""
    network, batch = example.network, {"x": example.train["x"], "target": example.train["y"]}

    def phase(beta):
        loss = Coupling(("y", "target"), lambda y, target: 0.5 * beta * jnp.sum((y - target) ** 2))
        terms = network.terms | {"loss": loss}
        nudged = Network(network.shapes | {"target": 3}, terms, input="x")
        end = relax(nudged, batch, solver=SOLVER, steps=STEPS)
        return energy_gradient(network, {n: end.states[n] for n in network.shapes})[0]

    return phase


@pytest.mark.parametrize(("kind", "expected"), [("plus", 1), ("minus", 1), ("both", 2)])
def test_weighed_loss_tends_to_backpropagation(kind, expected, mlp):
    phase = weighed(mlp)
    gradients = {
        "plus": lambda b: jax.tree.map(lambda g: g / b, phase(b)),
        "minus": lambda b: jax.tree.map(lambda g: -g / b, phase(-b)),
        "both": lambda b: centred(phase(b), phase(-b), b),
    }
    found = deviations(over_betas(gradients[kind]), flat(signal(BP(), mlp).gradient))
    assert abs(order(found) - expected) < 0.1, found
    assert found[-1] < 0.05
