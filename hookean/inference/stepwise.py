"""Single relaxation steps over a batch, for algorithms that do something else between them."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PRNGKeyArray

from ..core.clamp import Clamps, whole
from ..core.coordinates import AbstractCoordinates, StateCoordinates
from ..core.initialise import AbstractInitialiser
from ..core.network import Network
from .objective import everywhere
from .solver import AbstractSolver


class Stepwise(eqx.Module):
    """`init` and `step` of a solver, for a batch whose network may change from step to step."""

    solver: AbstractSolver
    initial: AbstractInitialiser
    coordinates: AbstractCoordinates = StateCoordinates()

    def init(self, network: Network, batch: Clamps, *, key: PRNGKeyArray) -> tuple[dict[str, Array], Any]:
        """Return (first states of all nodes, solver memory), both with a leading batch axis."""

        def one(clamps: Clamps, initial: AbstractInitialiser, key: PRNGKeyArray) -> tuple[dict[str, Array], Any]:
            states = initial(network, clamps, key=jax.random.split(key)[0])
            variables = self.coordinates.variables(network, states, clamps)
            return states, self.solver.init(self._objective(network, clamps), variables)

        return eqx.filter_vmap(one)(dict(batch), self.initial, _sample_keys(key, batch))

    def step(
        self, network: Network, batch: Clamps, states: dict[str, Array], memory: Any, key: PRNGKeyArray
    ) -> tuple[dict[str, Array], Any]:
        """Return (states of all nodes, solver memory) after one step of every sample."""

        def one(
            clamps: Clamps, states: dict[str, Array], memory: Any, key: PRNGKeyArray
        ) -> tuple[dict[str, Array], Any]:
            objective = self._objective(network, clamps)
            variables = self.coordinates.variables(network, states, clamps)
            gradient = objective.gradient(variables)
            moved, memory = self.solver.step(objective, variables, gradient, memory, key=key)
            return self.coordinates.states(network, moved, clamps), memory

        return eqx.filter_vmap(one)(dict(batch), states, memory, _sample_keys(key, batch))

    def _objective(self, network: Network, clamps: Clamps) -> Any:
        free = frozenset(network.shapes) - whole(clamps)
        return everywhere(network, clamps, self.coordinates, {}, free)


def _sample_keys(key: PRNGKeyArray, batch: Clamps) -> Key[Array, "batch"]:
    """Return one key per sample, so that samples draw independently."""
    size = jax.tree.leaves(dict(batch))[0].shape[0]
    return jax.vmap(lambda index: jax.random.fold_in(key, index))(jnp.arange(size))
