"""Small asymmetric networks: depth four or more, unequal widths, asymmetric targets, a batch that is not one."""

import itertools
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from hookean.core.builders import decoder, mlp
from hookean.core.clamp import Masked
from hookean.core.density import Bernoulli, Categorical, Gaussian
from hookean.core.initialise import AbstractInitialiser, Forward, Zero
from hookean.core.layers import Convolution, Dense, identity
from hookean.core.network import Network
from hookean.core.precision import DiagonalPrecision, FullPrecision, ScalarPrecision
from hookean.core.term import Coupling, Prediction

BATCH = 3
FULL = jnp.array([[1.5, 0.4, -0.2], [0.4, 0.9, 0.1], [-0.2, 0.1, 0.7]])
DIAGONAL = jnp.array([0.6, 1.7, 1.1, 0.8, 2.0, 0.5])


class Example(eqx.Module):
    """A network with a batch of clamps for each mode."""

    network: Network
    modes: Mapping[str, Mapping[str, Any]]
    initial: AbstractInitialiser = Forward()

    @property
    def train(self) -> Mapping[str, Any]:
        return self.modes["train"]


class Summed(eqx.Module):
    """The activation of a sum over several sources, each with its own dense layer."""

    layers: tuple[Dense, ...]
    activation: Callable

    def __init__(self, inputs, outputs, activation, *, key):
        keys = jax.random.split(key, len(inputs))
        self.layers = tuple(Dense(n, outputs, identity, key=k) for n, k in zip(inputs, keys, strict=True))
        self.activation = activation

    def __call__(self, *states):
        return self.activation(sum(layer(state) for layer, state in zip(self.layers, states, strict=True)))


class Bilinear(eqx.Module):
    """A symmetric coupling of two nodes: minus tanh(a)' W tanh(b) plus half the squares of both."""

    weight: jax.Array

    def __call__(self, a, b):
        return 0.5 * jnp.sum(a**2) + 0.5 * jnp.sum(b**2) - jnp.tanh(a) @ self.weight @ jnp.tanh(b)


class Lateral(eqx.Module):
    """Lateral inhibition within one node."""

    weight: jax.Array

    def __call__(self, a):
        return 0.3 * a @ (self.weight @ self.weight.T) @ a


def values(seed, *shape):
    return jax.random.normal(jax.random.fold_in(jax.random.key(77), seed), (BATCH, *shape))


def one_hot(classes):
    labels = jnp.arange(BATCH) * 2 % classes
    return jax.nn.one_hot(labels, classes, dtype=float)


def masked(value, seed):
    keep = jax.random.bernoulli(jax.random.fold_in(jax.random.key(5), seed), 0.5, value.shape)
    return Masked(value, keep)


def _keys(seed, n):
    return list(jax.random.split(jax.random.key(seed), n))


def _feedforward(network, x, y):
    return {"train": {"x": x, "y": y}, "predict": {"x": x}, "generate": {"y": y}}


def _mlp():
    network = mlp(7, 3, hidden=(6, 5, 4), activation=jnp.tanh, key=jax.random.key(1))
    modes = _feedforward(network, values(1, 7), values(2, 3))
    return Example(network, modes | {"recall": {"x": masked(values(1, 7), 1), "y": values(2, 3)}})


def _chain():
    k = _keys(2, 4)
    terms = [
        Prediction("a", "x", Dense(5, 4, identity, key=k[0]), Gaussian(0.7)),
        Prediction("b", "a", Dense(4, 6, identity, key=k[1]), Gaussian(DiagonalPrecision(DIAGONAL))),
        Prediction("c", "b", Dense(6, 3, identity, key=k[2]), Gaussian(FullPrecision(FULL))),
        Prediction("y", "c", Dense(3, 2, identity, key=k[3]), Gaussian(1.3)),
    ]
    network = Network({"x": 5, "a": 4, "b": 6, "c": 3, "y": 2}, terms, input="x", output="y")
    return Example(network, _feedforward(network, values(3, 5), values(4, 2)))


def _skip():
    k = _keys(3, 4)
    terms = [
        Prediction("h1", "x", Dense(4, 6, jnp.tanh, key=k[0])),
        Prediction("h2", "h1", Dense(6, 5, jnp.tanh, key=k[1])),
        Prediction("h3", ("h2", "h1"), Summed((5, 6), 3, jnp.tanh, key=k[2])),
        Prediction("y", ("h3", "h1"), Summed((3, 6), 2, identity, key=k[3])),
    ]
    network = Network({"x": 4, "h1": 6, "h2": 5, "h3": 3, "y": 2}, terms, input="x", output="y")
    return Example(network, _feedforward(network, values(5, 4), values(6, 2)))


def _sources():
    k = _keys(4, 4)
    terms = [
        Prediction("a", ("x", "v"), Summed((3, 4), 5, jnp.tanh, key=k[0]), Gaussian(1.4)),
        Prediction("b", ("a", "v"), Summed((5, 4), 4, jax.nn.gelu, key=k[1])),
        Prediction("c", "b", Dense(4, 3, jnp.tanh, key=k[2]), Gaussian(0.6)),
        Prediction("y", ("c", "a"), Summed((3, 5), 2, identity, key=k[3])),
    ]
    network = Network({"x": 3, "v": 4, "a": 5, "b": 4, "c": 3, "y": 2}, terms, input="x", output="y")
    x, v, y = values(7, 3), values(8, 4), values(9, 2)
    modes = {"train": {"x": x, "v": v, "y": y}, "predict": {"x": x, "v": v}, "partial": {"x": x, "y": y}}
    return Example(network, modes)


def _cycle():
    k = _keys(5, 4)
    terms = [
        Prediction("a", ("x", "c"), Summed((3, 2), 5, jnp.tanh, key=k[0])),
        Prediction("b", "a", Dense(5, 4, jnp.tanh, key=k[1])),
        Prediction("c", "b", Dense(4, 2, jnp.tanh, key=k[2])),
        Prediction("y", "c", Dense(2, 3, identity, key=k[3])),
    ]
    network = Network({"x": 3, "a": 5, "b": 4, "c": 2, "y": 3}, terms, input="x")
    return Example(network, _feedforward(network, values(10, 3), values(11, 3)), Zero())


def _lateral():
    base = _mlp().network
    k = _keys(6, 2)
    terms = dict(base.terms) | {
        "inhibition": Coupling("h2", Lateral(0.5 * jax.random.normal(k[0], (5, 5)))),
        "bond": Coupling(("h1", "h3"), Bilinear(0.4 * jax.random.normal(k[1], (6, 4)))),
    }
    network = Network(base.shapes, terms, input="x", output="y")
    return Example(network, _feedforward(network, values(12, 7), values(13, 3)))


def _hopfield():
    k = _keys(7, 2)
    terms = {
        "lower": Coupling(("v", "h"), Bilinear(0.6 * jax.random.normal(k[0], (6, 4)))),
        "upper": Coupling(("h", "top"), Bilinear(0.6 * jax.random.normal(k[1], (4, 3)))),
    }
    network = Network({"v": 6, "h": 4, "top": 3}, terms)
    modes = {"train": {"v": values(14, 6)}, "recall": {"v": masked(values(14, 6), 2)}}
    return Example(network, modes, Zero())


def _decoder():
    network = decoder(3, 7, hidden=(4, 6, 5), activation=jnp.tanh, key=jax.random.key(8))
    x = values(15, 7)
    return Example(network, {"train": {"x": x}, "generate": {"z": values(16, 3)}, "recall": {"x": masked(x, 3)}})


def _conv():
    k = _keys(9, 4)
    terms = [
        Prediction("h1", "x", Convolution(2, 3, jnp.tanh, padding=1, pool=True, key=k[0])),
        Prediction("h2", "h1", Convolution(3, 4, jnp.tanh, padding=0, pool=False, key=k[1])),
        Prediction("h3", "h2", Dense(8, 5, jnp.tanh, key=k[2])),
        Prediction("y", "h3", Dense(5, 3, identity, key=k[3])),
    ]
    nodes = {"x": (8, 6, 2), "h1": (4, 3, 3), "h2": (2, 1, 4), "h3": 5, "y": 3}
    network = Network(nodes, terms, input="x", output="y")
    x, y = values(17, 8, 6, 2), values(18, 3)
    return Example(network, {"train": {"x": x, "y": y}, "predict": {"x": x}})


def _deconv():
    network = decoder((1, 2, 3), (4, 8, 2), hidden=(2,), activation=jnp.tanh, kernel=3, key=jax.random.key(10))
    return Example(network, {"train": {"x": values(19, 4, 8, 2)}})


def _categorical():
    network = mlp(5, 4, hidden=(6, 3, 5), activation=jnp.tanh, output=Categorical(), key=jax.random.key(11))
    return Example(network, _feedforward(network, values(20, 5), one_hot(4)))


def _bernoulli():
    network = mlp(4, 5, hidden=(3, 6, 4), activation=jnp.tanh, output=Bernoulli(), key=jax.random.key(12))
    return Example(network, _feedforward(network, values(21, 4), (values(22, 5) > 0).astype(float)))


def _precisions():
    k = _keys(13, 4)
    learned = {"learned": True}
    terms = [
        Prediction("a", "x", Dense(5, 4, jnp.tanh, key=k[0]), Gaussian(ScalarPrecision(0.7, **learned))),
        Prediction("b", "a", Dense(4, 6, jnp.tanh, key=k[1]), Gaussian(DiagonalPrecision(DIAGONAL, **learned))),
        Prediction("c", "b", Dense(6, 3, jnp.tanh, key=k[2]), Gaussian(FullPrecision(FULL, **learned))),
        Prediction("y", "c", Dense(3, 2, identity, key=k[3]), Gaussian(ScalarPrecision(1.3, **learned))),
    ]
    network = Network({"x": 5, "a": 4, "b": 6, "c": 3, "y": 2}, terms, input="x", output="y")
    return Example(network, _feedforward(network, values(23, 5), values(24, 2)))


def _bidirectional():
    k = _keys(14, 7)
    widths = {"x": 4, "h1": 5, "h2": 3, "h3": 6, "y": 2}
    names = list(widths)
    terms = {}
    for i, (low, high) in enumerate(itertools.pairwise(names)):
        phi = identity if high == "y" else jnp.tanh
        terms[f"up_{high}"] = Prediction(high, low, Dense(widths[low], widths[high], phi, key=k[i]))
    for i, (low, high) in enumerate(itertools.pairwise(names[1:])):
        layer = Dense(widths[high], widths[low], jnp.tanh, key=k[4 + i])
        terms[f"down_{low}"] = Prediction(low, high, layer, Gaussian(0.3))
    network = Network(widths, terms, input="x", output="y")
    return Example(network, _feedforward(network, values(25, 4), values(26, 2)))


_USUAL = ("train", "predict", "generate")
#: name -> (builder, its clamp modes). The modes stand here so that collecting the tests builds no network.
_BUILDERS = {
    "mlp": (_mlp, (*_USUAL, "recall")),
    "chain": (_chain, _USUAL),
    "skip": (_skip, _USUAL),
    "sources": (_sources, ("train", "predict", "partial")),
    "cycle": (_cycle, _USUAL),
    "lateral": (_lateral, _USUAL),
    "hopfield": (_hopfield, ("train", "recall")),
    "decoder": (_decoder, ("train", "generate", "recall")),
    "conv": (_conv, ("train", "predict")),
    "deconv": (_deconv, ("train",)),
    "categorical": (_categorical, _USUAL),
    "bernoulli": (_bernoulli, _USUAL),
    "precisions": (_precisions, _USUAL),
    "bidirectional": (_bidirectional, _USUAL),
}
NAMES = tuple(_BUILDERS)
#: Networks whose nodes have a topological order and whose terms are all predictions of one node each.
FEEDFORWARD = ("mlp", "chain", "skip", "sources", "conv", "categorical", "bernoulli", "precisions")
#: (example, clamp mode) for all of them.
CASES = tuple((name, mode) for name, (_, modes) in _BUILDERS.items() for mode in modes)


@cache
def build(name: str) -> Example:
    """Return the example of that name; the same object every time."""
    builder, modes = _BUILDERS[name]
    with jax.numpy_rank_promotion("allow"):
        example = eqx.filter_jit(builder)()  # one program in place of one for every array
    assert set(example.modes) == set(modes)
    return example
