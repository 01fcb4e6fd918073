"""Where the states of a sample start: forward, swept, zero, Gaussian or given."""

import abc
from collections.abc import Mapping

import equinox as eqx
import jax
from jaxtyping import Array, PRNGKeyArray

from . import graph
from .checks import at_least, known
from .clamp import Clamps, impose, value
from .network import Network


class AbstractInitialiser(eqx.Module):
    """Gives every node of one sample its first state; clamped entries always hold their given values.

    `stochastic` says that it needs a key.
    """

    stochastic = False

    @abc.abstractmethod
    def __call__(self, network: Network, clamps: Clamps, *, key: PRNGKeyArray) -> dict[str, Array]:
        """Return name -> state for every node of the network."""

    @abc.abstractmethod
    def resting_terms(self, network: Network, clamps: Clamps) -> frozenset[str]:
        """Return the terms that certainly have no gradient at the first states."""


class Forward(AbstractInitialiser):
    """Every free node starts at its prediction, so that only terms with a clamped target hold energy."""

    def __call__(self, network: Network, clamps: Clamps, *, key: PRNGKeyArray) -> dict[str, Array]:
        del key
        return network.forward(clamps)

    def resting_terms(self, network: Network, clamps: Clamps) -> frozenset[str]:
        order, _ = graph.forward_order(network.terms, clamps)
        terms = graph.predictions(network.terms)
        return frozenset(name for name in order if terms[name].density.rests_at_prediction)


class Sweeps(AbstractInitialiser):
    """Free nodes start at zero and are set to their predictions, all at once, so many times; cycles do not matter.

    Without cycles, as many sweeps as there are terms from the clamps to a node bring it to its forward value.

    Arguments:
        number: of sweeps (default 2: what is clamped reaches nodes through one other).
        unseen: nodes whose clamps take effect only after the sweeps. With the label unseen, free nodes start where they
            would without it, as in a forward pass, and cannot hand the label back to itself.

    Cost: one evaluation of all predictions a sweep.
    """

    number: int = 2
    unseen: tuple[str, ...] = ()

    def __check_init__(self) -> None:
        at_least("number", self.number, 0)

    def __call__(self, network: Network, clamps: Clamps, *, key: PRNGKeyArray) -> dict[str, Array]:
        known("unseen", self.unseen, network.shapes)
        seen = {name: clamp for name, clamp in clamps.items() if name not in self.unseen}
        states = Zero()(network, seen, key=key)
        for _ in range(self.number):
            states = network.sweep(states, seen)
        return impose(states, clamps)

    def resting_terms(self, network: Network, clamps: Clamps) -> frozenset[str]:
        del network, clamps
        return frozenset()


class Zero(AbstractInitialiser):
    """Every free node starts at zero."""

    def __call__(self, network: Network, clamps: Clamps, *, key: PRNGKeyArray) -> dict[str, Array]:
        del key
        return _start(network.zeros(), clamps)

    def resting_terms(self, network: Network, clamps: Clamps) -> frozenset[str]:
        del network, clamps
        return frozenset()


class Normal(AbstractInitialiser):
    """Every free node starts at Gaussian noise with standard deviation `scale` (default 0.1, as in the benchmark)."""

    scale: float = 0.1
    stochastic = True

    def __call__(self, network: Network, clamps: Clamps, *, key: PRNGKeyArray) -> dict[str, Array]:
        keys = jax.random.split(key, len(network.node_shapes))
        return _start(
            {
                name: self.scale * jax.random.normal(k, shape, network.dtype)
                for k, (name, shape) in zip(keys, network.node_shapes, strict=True)
            },
            clamps,
        )

    def resting_terms(self, network: Network, clamps: Clamps) -> frozenset[str]:
        del network, clamps
        return frozenset()


class Given(AbstractInitialiser):
    """Free nodes start at given states of one sample; nodes that are not given start at zero."""

    states: Mapping[str, Array]

    def __call__(self, network: Network, clamps: Clamps, *, key: PRNGKeyArray) -> dict[str, Array]:
        del key
        known("Given", self.states, network.shapes)
        return _start(network.zeros() | dict(self.states), clamps)

    def resting_terms(self, network: Network, clamps: Clamps) -> frozenset[str]:
        del network, clamps
        return frozenset()


def _start(states: dict[str, Array], clamps: Clamps) -> dict[str, Array]:
    """Impose the clamps; the free part of a partly clamped node starts at the values given with its mask."""
    return impose(states | {name: value(clamp) for name, clamp in clamps.items()}, clamps)
