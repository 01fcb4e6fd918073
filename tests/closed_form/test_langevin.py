"""Langevin chains on linear Gaussian models, whose posterior one linear solve gives, and the models that they learn.

Errors are measured in standard errors of chains with as many independent draws as the effective sample size says.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from arviz_stats.base import array_stats
from oracles import LinearChain
from scipy.stats import norm
from scipy.stats import t as t_distribution

from hookean.algorithms import MCPC
from hookean.core.coordinates import ErrorCoordinates, StateCoordinates
from hookean.core.initialise import Zero
from hookean.core.parameters import split
from hookean.inference import Langevin
from hookean.inference.chain import Chains, draw, walk
from hookean.inference.stepwise import Stepwise

HIDDEN = ("a", "b", "c")
CHAINS = 40


def posterior(network, x, y):
    """Return (mean, covariance, precision) of the hidden nodes of the linear chain, in NumPy."""
    linear = LinearChain(network)
    settled = linear.settle(x, y)
    widths = [W.shape[0] for W in linear.weights[:-1]]
    ends = np.cumsum([0, *widths])
    H = np.zeros((ends[-1], ends[-1]))
    for i in range(len(widths)):
        W, here = linear.weights[i + 1], slice(ends[i], ends[i + 1])
        H[here, here] = linear.precisions[i] + W.T @ linear.precisions[i + 1] @ W
        if i + 1 < len(widths):
            above = slice(ends[i + 1], ends[i + 2])
            H[above, here] = -linear.precisions[i + 1] @ W
            H[here, above] = H[above, here].T
    return np.concatenate(settled[1:-1]), np.linalg.inv(H), H


@eqx.filter_jit
def drawn(network, clamps, solver, coordinates, initial, mixing, draws, every, key):
    stepwise = Stepwise(solver, initial, coordinates)
    chains = walk(stepwise, network, clamps, Chains(*stepwise.init(network, clamps, key=key)), steps=mixing, key=key)
    free = [name for name in network.shapes if name not in clamps]

    def keep(states):
        return jnp.concatenate([states[name] for name in free], axis=-1)

    return draw(stepwise, network, clamps, chains, draws=draws, every=every, keep=keep, key=jax.random.fold_in(key, 1))


def samples(chain, solver, coordinates=StateCoordinates(), *, draws=150, every=4, mixing=100):
    """Return draws [chains, draws, units] of the hidden nodes for the first sample of the linear chain."""
    clamps = {name: jnp.repeat(value[:1], CHAINS, axis=0) for name, value in chain.train.items()}
    found = drawn(chain.network, clamps, solver, coordinates, Zero(), mixing, draws, every, jax.random.key(3))[1]
    return np.swapaxes(np.asarray(found), 0, 1)


def standard_errors(found, mean, covariance):
    """Return the errors of the sampled mean and covariance, each in its standard error, by the effective sizes."""
    pooled = found.reshape(-1, found.shape[-1])
    size = np.array([array_stats.ess(found[..., i], method="mean") for i in range(found.shape[-1])])
    errors = [(pooled.mean(axis=0) - mean) / np.sqrt(np.diag(covariance) / size)]
    for i, j in zip(*np.triu_indices(len(mean)), strict=True):
        product = (found[..., i] - mean[i]) * (found[..., j] - mean[j])
        effective = array_stats.ess(product, method="mean")
        errors.append([(product.mean() - covariance[i, j]) / (product.std() / np.sqrt(effective))])
    return np.concatenate(errors)


def limits(size):
    """Return the largest of so many normal numbers in 999 of 1,000 cases."""
    return norm.isf(0.0005 / size)


def biased(H, rate, momentum, temperature=1.0):
    """Return what a chain of this rate samples on a quadratic energy with Hessian H, exactly."""
    k, U = np.linalg.eigh(H)
    return (U * (temperature / (k * (1 - rate * k / (2 * (1 + momentum)))))) @ U.T


@pytest.mark.parametrize(
    ("solver", "every"),
    [(Langevin(0.2), 6), (Langevin(0.05, 0.9, temperature=0.3), 4)],
    ids=["overdamped", "underdamped"],
)
def test_chain_samples_the_posterior(solver, every, chain):
    network, (x, y) = chain.network, (np.asarray(chain.train[name][0]) for name in ("x", "y"))
    mean, _, H = posterior(network, x, y)
    found = samples(chain, solver, every=every)
    assert max(array_stats.rhat(found[..., i], method="split") for i in range(found.shape[-1])) < 1.05
    errors = standard_errors(found, mean, biased(H, solver.rate, solver.momentum, solver.temperature))
    assert np.abs(errors).max() < limits(errors.size)
    assert 0.7 < np.sqrt(np.mean(errors**2)) < 1.3


def test_states_and_errors_sample_the_same_posterior(chain):
    """The change between states and errors keeps volumes, so no correction is due."""
    network, (x, y) = chain.network, (np.asarray(chain.train[name][0]) for name in ("x", "y"))
    mean, covariance, _ = posterior(network, x, y)
    found = samples(chain, Langevin(0.003, 0.9), ErrorCoordinates(), every=8)
    errors = standard_errors(found, mean, covariance)
    assert np.abs(errors).max() < limits(errors.size)


def log_evidence(network, x, y):
    """Return log p(y | x) of the linear chain up to a constant: -1/2 r'S^-1 r - 1/2 log det S, S the spread of y."""
    mean, spread = x, jnp.zeros((x.size, x.size))
    for term in network.terms.values():
        W, precision = term.function.linear.weight, term.density.precision
        noise = jnp.linalg.inv(jax.vmap(precision.times)(jnp.eye(W.shape[0])))
        mean, spread = W @ mean + term.function.linear.bias, W @ spread @ W.T + noise
    r = y - mean
    return -0.5 * r @ jnp.linalg.solve(spread, r) - 0.5 * jnp.linalg.slogdet(spread)[1]


@pytest.mark.parametrize(("updates", "every"), [(1, 1), (5, 2)])
def test_learning_ascends_the_log_evidence(updates, every, chain):
    """Fisher's identity: the posterior mean of dE/dW is minus the gradient of log p(y | x).

    The weights move by a millionth of the gradient, so that a chain that goes on through five updates sees the same
    posterior all along.
    """
    network, x, y = chain.network, chain.train["x"], chain.train["y"]
    trained, rest = split(network)
    exact = jax.grad(
        lambda t: -jnp.mean(jax.vmap(lambda a, b: log_evidence(eqx.combine(t, rest), a, b))(x, y))
    )(trained)  # fmt: skip
    rule = optax.sgd(1e-6)
    lengths = {"warm": 0, "mixing": 60, "samples": 100 // (updates * every), "every": every, "updates": updates}
    algorithm = MCPC(chain=Langevin(0.02, 0.9), optimiser=rule, **lengths)
    start = algorithm.init(network, key=jax.random.key(0))
    batch = {name: jnp.repeat(value, 4, axis=0) for name, value in chain.train.items()}

    @eqx.filter_jit
    def gradients(keys):
        def moved(key):
            end = split(algorithm.step(start, batch, key=key)[0].network)[0]
            return jax.tree.map(lambda old, new: (old - new) / (1e-6 * updates), trained, end)

        return jax.lax.map(moved, keys)

    found = gradients(jax.random.split(jax.random.key(4), 12))
    errors = []
    for sampled, expected in zip(jax.tree.leaves(found), jax.tree.leaves(exact), strict=True):
        spread = sampled.std(axis=0, ddof=1) / np.sqrt(len(sampled))
        errors.append(np.ravel((sampled.mean(axis=0) - expected) / spread))
    errors = np.concatenate(errors)
    # Student's t with 11 degrees of freedom, the same for all entries: at most one in a thousand runs is further out.
    assert np.abs(errors).max() < t_distribution.isf(0.0005 / errors.size, 11)
    assert np.sqrt(np.mean(errors**2)) < 1.4
