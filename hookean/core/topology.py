"""Which unit of a graph reads which: masks over all units, by name or given. A row reads the columns that are true."""

import abc
from collections.abc import Sequence
from typing import final

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Bool, PRNGKeyArray

from .checks import at_least

#: `mask[i, j]`: unit i is predicted from unit j.
Mask = Bool[np.ndarray, "units units"]


class AbstractTopology(eqx.Module):
    """Says which units are coupled. Units stand in the order of their groups: image, hidden groups, label."""

    @abc.abstractmethod
    def mask(self, groups: Sequence[int], *, key: PRNGKeyArray) -> Mask:
        """Return the mask over all units.

        Arguments:
            groups: number of units of each group.
            key: for topologies that are drawn.

        Raises:
            ValueError: if the topology does not fit so many units.
        """


@final
class Full(AbstractTopology):
    """Every unit is predicted from every other one.

    Arguments:
        self_coupling: a unit predicts itself as well (default false: it could then explain itself away).
    """

    self_coupling: bool = False

    def mask(self, groups: Sequence[int], *, key: PRNGKeyArray) -> Mask:
        del key
        every = np.ones((sum(groups),) * 2, bool)
        return every if self.self_coupling else without_self(every)


@final
class Hierarchical(AbstractTopology):
    """Every group is predicted from the group before it: a multilayer perceptron, without cycles.

    Arguments:
        lateral: the units of a hidden group predict each other as well, which makes cycles (default false).
    """

    lateral: bool = False

    def mask(self, groups: Sequence[int], *, key: PRNGKeyArray) -> Mask:
        del key
        group = np.repeat(np.arange(len(groups)), groups)
        below = group[:, None] == group[None, :] + 1
        inside = (group[:, None] == group[None, :]) & (group > 0) & (group < len(groups) - 1)
        return below | without_self(inside) if self.lateral else below


@final
class Random(AbstractTopology):
    """Every ordered pair of different units is coupled with one probability (Erdos and Renyi).

    Arguments:
        density: the probability (default 0.1).
    """

    density: float = 0.1

    def __check_init__(self) -> None:
        if not 0 < self.density <= 1:
            raise ValueError(f"density must be above 0 and at most 1, got {self.density}.")

    def mask(self, groups: Sequence[int], *, key: PRNGKeyArray) -> Mask:
        units = sum(groups)
        return without_self(np.random.default_rng(_seed(key)).random((units, units)) < self.density)


@final
class SmallWorld(AbstractTopology):
    """A ring of near neighbours with some couplings rewired at random, both ways; units stand on it in random order.

    Arguments:
        neighbours: number of nearest units on the ring that a unit is coupled with, half of them on each side; even
            (default 100).
        rewired: probability that a coupling leads to a random unit instead (default 0.1).

    Source: Watts & Strogatz, Nature 393 (1998).
    """

    neighbours: int = 100
    rewired: float = 0.1

    def __check_init__(self) -> None:
        at_least("neighbours", self.neighbours, 2)
        if self.neighbours % 2:
            raise ValueError(f"neighbours must be even, as many on each side of a unit, got {self.neighbours}.")
        if not 0 <= self.rewired <= 1:
            raise ValueError(f"rewired must be from 0 to 1, got {self.rewired}.")

    def mask(self, groups: Sequence[int], *, key: PRNGKeyArray) -> Mask:
        import networkx  # only those who draw such a graph pay for its import

        units, seed = sum(groups), _seed(key)
        if self.neighbours >= units:
            raise ValueError(f"neighbours must be less than the number of units, {units}, got {self.neighbours}.")
        ring = networkx.watts_strogatz_graph(units, self.neighbours, self.rewired, seed=seed)
        place = np.random.default_rng(seed).permutation(units)
        return networkx.to_numpy_array(ring, dtype=bool)[np.ix_(place, place)]


@final
class Adjacency(AbstractTopology):
    """A mask that is given: any cycles, self-couplings, lateral couplings.

    Arguments:
        given: `given[i, j]` is true where unit i is predicted from unit j.
    """

    given: Mask

    def mask(self, groups: Sequence[int], *, key: PRNGKeyArray) -> Mask:
        del key
        units = sum(groups)
        if self.given.shape != (units, units):
            raise ValueError(f"the adjacency must have shape ({units}, {units}), got {self.given.shape}.")
        return self.given


def without_self(mask: Mask) -> Mask:
    """Return the mask without the couplings of units with themselves."""
    return mask & ~np.eye(len(mask), dtype=bool)


def _seed(key: PRNGKeyArray) -> int:
    return int(jax.random.randint(key, (), 0, 2**31 - 1))
