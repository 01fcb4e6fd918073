"""What the package is held against: written here a second time, by other means."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from hookean.core.clamp import Masked
from hookean.core.density import Gaussian
from hookean.core.parameters import split
from hookean.core.precision import ScalarPrecision
from hookean.inference.relax import relax
from hookean.learning.energy_gradient import settled_gradient


def held(clamps):
    """Return the names that are clamped as a whole."""
    return {name for name, clamp in clamps.items() if not isinstance(clamp, Masked)}


def free_gradient(network, clamps, states):
    """Return dE/dx of every free node of one sample, zero where a mask holds an entry."""
    gradient = jax.grad(network.energy)(states)
    masks = {name: clamp.mask for name, clamp in clamps.items() if isinstance(clamp, Masked)}
    free = {name: gradient[name] for name in network.shapes if name not in held(clamps)}
    return {name: jnp.where(masks[name], 0.0, g) if name in masks else g for name, g in free.items()}


def size(tree):
    return jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(tree)))


def start(example, clamps, key=None):
    """Return the first states of every sample."""
    key = jax.random.key(0) if key is None else key
    return eqx.filter_vmap(lambda c: example.initial(example.network, c, key=key))(dict(clamps))


def descend(network, clamps, states, *, rate, steps):
    """Return the states after 0, 1, ..., `steps` steps x <- x - rate dE/dx of all terms: [steps + 1, batch, ...]."""

    def one(clamps, states):
        def step(states, _):
            gradient = free_gradient(network, clamps, states)
            return states | {name: states[name] - rate * g for name, g in gradient.items()}, states

        last, before = jax.lax.scan(step, states, None, length=steps)
        return jax.tree.map(lambda a, b: jnp.concatenate([a, b[None]]), before, last)

    moved = eqx.filter_vmap(one)(dict(clamps), states)
    return {name: jnp.swapaxes(value, 0, 1) for name, value in moved.items()}


def weight_gradient(network, states):
    """Return the batch mean of dE/dW at states with a leading batch axis: the mean of one gradient per sample."""
    trained, rest = split(network)
    per_sample = jax.vmap(lambda s: jax.grad(lambda t: eqx.combine(t, rest).energy(s))(trained))(states)
    return jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), per_sample)


def plain_precision(term):
    """Return the precision matrix of a Gaussian term as NumPy, from what was given."""
    assert isinstance(term.density, Gaussian)
    precision = term.density.precision
    assert not precision.learned
    given = np.asarray(precision.value if isinstance(precision, ScalarPrecision) else precision.value.value)
    if given.ndim == 2:
        return given
    return np.eye(term.function.linear.weight.shape[0]) * given


class LinearChain:
    """A chain x -> a -> ... -> y of dense linear terms in NumPy: forward pass and equilibrium by one linear solve."""

    def __init__(self, network):
        self.terms = list(network.term_names)
        terms = [network.terms[name] for name in self.terms]
        self.weights = [np.asarray(t.function.linear.weight) for t in terms]
        self.biases = [np.asarray(t.function.linear.bias) for t in terms]
        self.precisions = [plain_precision(t) for t in terms]

    def forward(self, x):
        states = [np.asarray(x)]
        for W, b in zip(self.weights, self.biases, strict=True):
            states.append(W @ states[-1] + b)
        return states

    def settle(self, x, y):
        """Return all states where E = 1/2 (M s - c)' P (M s - c) is least: the solution of M'PM s = M'P c."""
        widths = [W.shape[0] for W in self.weights]
        rows, columns = np.cumsum([0, *widths]), np.cumsum([0, *widths[:-1]])
        M, c = np.zeros((rows[-1], columns[-1])), np.zeros(rows[-1])
        P = np.zeros((rows[-1], rows[-1]))
        depth = len(widths)
        for i, (W, b) in enumerate(zip(self.weights, self.biases, strict=True)):
            here = slice(rows[i], rows[i + 1])
            P[here, here] = self.precisions[i]
            c[here] += b
            if i < depth - 1:
                M[here, columns[i] : columns[i + 1]] = np.eye(widths[i])
            else:
                c[here] -= y
            if i > 0:
                M[here, columns[i - 1] : columns[i]] = -W
            else:
                c[here] += W @ x
        solution = np.linalg.solve(M.T @ P @ M, M.T @ P @ c)
        hidden = [solution[columns[i] : columns[i + 1]] for i in range(depth - 1)]
        return [np.asarray(x), *hidden, np.asarray(y)]

    def gradients(self, states):
        """Return [(dE/dW, dE/db)] by the two local equations."""
        result = []
        for i, (W, b) in enumerate(zip(self.weights, self.biases, strict=True)):
            pulled = self.precisions[i] @ (states[i + 1] - W @ states[i] - b)
            result.append((-np.outer(pulled, states[i]), -pulled))
        return result


def dense_gradients(network, gradient):
    """Return [(dE/dW, dE/db)] of the dense terms of a gradient tree, in the order of the terms."""
    assert len(gradient.term_list) == len(network.term_names)
    return [(term.function.linear.weight, term.function.linear.bias) for term in gradient.term_list]


def close(actual, expected, *, atol, rtol=0.0):
    """Assert that two trees of arrays agree leaf by leaf, and have the same leaves."""
    a, b = jax.tree.leaves(actual), jax.tree.leaves(expected)
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    assert a
    for left, right in zip(a, b, strict=True):
        np.testing.assert_allclose(np.asarray(left), np.asarray(right), atol=atol, rtol=rtol)


def close_all(actual, expected, *, atol, rtol=0.0):
    """Assert that two lists of (W, b) agree."""
    assert len(actual) == len(expected) > 0
    for (W, b), (V, c) in zip(actual, expected, strict=True):
        np.testing.assert_allclose(np.asarray(W), V, atol=atol, rtol=rtol)
        np.testing.assert_allclose(np.asarray(b), c, atol=atol, rtol=rtol)


def flat(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


@eqx.filter_jit
def _signal(algorithm, network, batch, epoch, key, record):
    return algorithm.signal(network, batch, epoch=epoch, key=key, record=record)


def signal(algorithm, example, batch=None, *, epoch=0, key=None, record=False):
    """Return the algorithm's signal on the training clamps of an example, compiled."""
    batch = dict(example.train if batch is None else batch)
    return _signal(algorithm, example.network, batch, epoch, jax.random.key(0) if key is None else key, record)


@eqx.filter_jit
def _relaxed(network, clamps, settings):
    return relax(network, clamps, **settings)


def relaxed(network, clamps, **settings):
    """Return the relaxation, compiled."""
    return _relaxed(network, dict(clamps), settings)


@eqx.filter_jit
def settled(network, clamps, **settings):
    """Return (relaxation, weight gradient, energies) at its end, compiled."""
    end = relax(network, dict(clamps), **settings)
    return end, *settled_gradient(network, end)


def forward(network, clamps):
    """Return the forward states of a batch, compiled."""
    return eqx.filter_jit(eqx.filter_vmap(network.forward))(dict(clamps))
