"""Batch normalisation that is frozen during inference: its statistics are fixed numbers while states relax."""

import abc
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from . import graph
from .clamp import Clamps
from .network import Network
from .parameters import Frozen


class BatchNorm(eqx.Module):
    r"""$\gamma\,(u - \mu)/\sqrt{\sigma^2 + \epsilon} + \beta$ by channel, with statistics that the layer holds.

    Arguments:
        channels: size of the last axis.
        momentum: share of a batch in the running statistics (default 0.1).
        epsilon: added to the variance (default 1e-5).

    Source: Ioffe & Szegedy (2015).
    """

    scale: Float[Array, "c"]
    shift: Float[Array, "c"]
    mean: Frozen
    variance: Frozen
    running_mean: Frozen
    running_variance: Frozen
    momentum: float = eqx.field(static=True)
    epsilon: float = eqx.field(static=True)

    def __init__(self, channels: int, *, momentum: float = 0.1, epsilon: float = 1e-5):
        self.scale, self.shift = jnp.ones(channels), jnp.zeros(channels)
        self.mean, self.variance = Frozen(jnp.zeros(channels)), Frozen(jnp.ones(channels))
        self.running_mean, self.running_variance = Frozen(jnp.zeros(channels)), Frozen(jnp.ones(channels))
        self.momentum, self.epsilon = momentum, epsilon

    def __call__(self, drive: Float[Array, "*space c"]) -> Float[Array, "*space c"]:
        scale = self.scale / jnp.sqrt(self.variance.value + self.epsilon)
        wide = (*(1 for _ in drive.shape[1:]), -1)
        return scale.reshape(wide) * (drive - self.mean.value.reshape(wide)) + self.shift.reshape(wide)

    def measured(self, drives: Float[Array, "batch *space c"]) -> "BatchNorm":
        """Return the layer with the statistics of a batch, and running ones that have moved towards them."""
        axes = tuple(range(drives.ndim - 1))
        mean, variance = jnp.mean(drives, axes), jnp.var(drives, axes)
        count = drives.size // drives.shape[-1]
        unbiased = variance * count / max(count - 1, 1)

        def moved(old: Frozen, new: Array) -> Frozen:
            return Frozen(old.value + self.momentum * (jax.lax.stop_gradient(new) - old.value))

        return eqx.tree_at(
            lambda n: (n.mean, n.variance, n.running_mean, n.running_variance),
            self,
            (Frozen(mean), Frozen(variance), moved(self.running_mean, mean), moved(self.running_variance, unbiased)),
        )

    def averaged(self) -> "BatchNorm":
        """Return the layer that normalises by its running statistics."""
        return eqx.tree_at(lambda n: (n.mean, n.variance), self, (self.running_mean, self.running_variance))


class AbstractNormalised(eqx.Module):
    """A prediction with batch normalisation inside."""

    @abc.abstractmethod
    def measured(self, *sources: Float[Array, "batch ..."]) -> "AbstractNormalised":
        """Return the prediction with the statistics of a batch of source states."""

    @abc.abstractmethod
    def averaged(self) -> "AbstractNormalised":
        """Return the prediction with running statistics."""


def has_statistics(network: Network) -> bool:
    """Say whether a prediction of the network holds statistics of a batch."""
    leaves = jax.tree.leaves(network, is_leaf=lambda node: isinstance(node, BatchNorm))
    return any(isinstance(leaf, BatchNorm) for leaf in leaves)


def measured(network: Network, clamps: Clamps) -> Network:
    """Return the network with the statistics of this batch at its forward states; the same object without any.

    Training takes it once for a batch, before the algorithm sees it: whatever relaxes or is differentiated afterwards
    has constants in their place.

    Arguments:
        clamps: node -> values with a leading batch axis.

    Raises:
        ValueError: if the network has a cycle.
    """
    if not has_statistics(network):
        return network
    order, cyclic = graph.forward_order(network.terms, [network.input] if network.input else [])
    if cyclic:
        raise ValueError(f"batch normalisation needs a forward pass, but {', '.join(cyclic)} lie on or behind a cycle.")
    terms = dict(graph.predictions(network.terms))
    states: dict[str, Any] = {network.input: clamps[network.input]} if network.input else {}
    for name in order:
        term = terms[name]
        if isinstance(term.function, AbstractNormalised):
            function = term.function.measured(*(states[source] for source in term.sources))
            terms[name] = term = eqx.tree_at(lambda t: t.function, term, function)
        given = {source: states[source] for source in term.needs}
        states[term.target] = eqx.filter_vmap(lambda sample, term=term: term.forward(sample))(given)
    return _with_terms(network, terms)


def averaged(network: Network) -> Network:
    """Return the network that normalises by its running statistics, as it is evaluated; the same object without any."""
    if not has_statistics(network):
        return network
    terms = dict(graph.predictions(network.terms))
    for name, term in terms.items():
        if isinstance(term.function, AbstractNormalised):
            terms[name] = eqx.tree_at(lambda t: t.function, term, term.function.averaged())
    return _with_terms(network, terms)


def _with_terms(network: Network, changed: Mapping[str, Any]) -> Network:
    terms = tuple(changed.get(name, term) for name, term in network.terms.items())
    return eqx.tree_at(lambda n: n.term_list, network, terms)
