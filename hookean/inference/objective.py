"""What a solver descends: the energy of one sample as a function of its free variables."""

import dataclasses
from collections.abc import Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..core import graph
from ..core.clamp import Clamps
from ..core.coordinates import AbstractCoordinates
from ..core.network import Network

#: Name of a free node -> its variable (a state, or an error in error coordinates).
Variables = dict[str, Array]


class Objective(eqx.Module):
    """The energy of one sample, restricted to the terms that can have a gradient.

    Arguments:
        active: names of the terms to evaluate; the others are known to have no gradient.
        moving: names of the free variables that these terms can move; the gradient of the others is zero.
        constants: predictions that do not depend on any free variable, by term.
        factors: what the energy of a term is multiplied with in the sum; 1 where it has none.
    """

    network: Network
    clamps: Clamps
    coordinates: AbstractCoordinates
    constants: Mapping[str, Array]
    active: frozenset[str] = eqx.field(static=True)
    moving: frozenset[str] = eqx.field(static=True)
    factors: Mapping[str, Array | float] = eqx.field(default_factory=dict)

    def weighted(self, factors: Mapping[str, Array | float]) -> "Objective":
        """Return the same objective with these factors on its terms."""
        return dataclasses.replace(self, factors=dict(factors))

    def total(self, energies: Mapping[str, Float[Array, ""]]) -> Float[Array, ""]:
        """Return the sum of the terms' energies, each with its factor."""
        parts = (self.factors[n] * e if n in self.factors else e for n, e in energies.items())
        return jnp.asarray(sum(parts, start=0.0))

    def energies(self, variables: Variables) -> dict[str, Float[Array, ""]]:
        """Return the energy of each active term in nats."""
        return self.coordinates.energies(
            self.network, variables, self.clamps, only=self.active, constants=self.constants
        )

    def evaluate(self, variables: Variables) -> tuple[dict[str, Float[Array, ""]], Variables]:
        r"""Return (energy of each active term, $\partial E/\partial x$ for every free variable)."""

        def total(moving: Variables) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
            energies = self.energies(variables | moving)
            return self.total(energies), energies

        moving = {name: value for name, value in variables.items() if name in self.moving}
        gradient, energies = jax.grad(total, has_aux=True)(moving)
        resting = {n: jnp.zeros_like(v) for n, v in variables.items() if n not in self.moving}
        return energies, {name: (gradient | resting)[name] for name in variables}

    def gradient(self, variables: Variables) -> Variables:
        r"""Return $\partial E/\partial x$ for every free variable."""
        return self.evaluate(variables)[1]


def norm(variables: Variables) -> Float[Array, ""]:
    """Return the Euclidean norm over all variables of one sample."""
    squares = [jnp.sum(jnp.square(value)) for value in variables.values()]
    return jnp.sqrt(sum(squares, start=0.0))


def dot(one: Variables, other: Variables) -> Float[Array, ""]:
    """Return the inner product over all variables of one sample."""
    return jnp.asarray(sum((jnp.sum(one[name] * other[name]) for name in one), start=0.0))


def add(one: Variables, factor: float | Float[Array, ""], other: Variables) -> Variables:
    """Return `one` plus a factor times `other`, in the number types of `one`."""
    return {name: (value + factor * other[name]).astype(value.dtype) for name, value in one.items()}


def everywhere(
    network: Network,
    clamps: Clamps,
    coordinates: AbstractCoordinates,
    constants: Mapping[str, Array],
    free: frozenset[str],
) -> Objective:
    """Return the objective over all terms and all free variables."""
    return Objective(network, clamps, coordinates, constants, frozenset(network.term_names), free)


def in_waves(
    network: Network,
    clamps: Clamps,
    coordinates: AbstractCoordinates,
    constants: Mapping[str, Array],
    free: frozenset[str],
    resting: frozenset[str],
) -> list[Objective]:
    """Return the objective of each step while the error spreads; the last one holds for all later steps."""
    restless = frozenset(network.term_names) - resting
    return [
        Objective(network, clamps, coordinates, constants, active, graph.touched(network.terms, free, active))
        for active in graph.waves(network.terms, free, restless)
    ]
