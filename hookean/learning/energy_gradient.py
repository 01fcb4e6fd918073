r"""The learning rule of predictive coding: $\dot W = -\partial E/\partial W$ at the states where inference arrived."""

from collections.abc import Collection, Mapping

import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..core.network import Network
from ..inference.relax import Relaxation
from .batch import mean_gradient


def energy_gradient(
    network: Network,
    states: Mapping[str, Array],
    *,
    without: Collection[str] = (),
    errors: Mapping[str, Array] | None = None,
) -> tuple[PyTree, dict[str, Float[Array, ""]]]:
    r"""Return the batch mean of $\partial E/\partial W$ at `states` (leading batch axis) and of each term's energy.

    Arguments:
        without: terms that are known to have no energy and no gradient; they are not evaluated.
        errors: errors of Gaussian terms that are known better than states and predictions differ, by term.

    Cost: one gradient of the energy.
    """
    only = [name for name in network.term_names if name not in without]

    def energies(model: Network, sample: tuple[dict[str, Array], dict[str, Array]]) -> dict[str, Float[Array, ""]]:
        return model.energies(sample[0], only=only, errors=sample[1])

    gradient, found = mean_gradient(energies, network, (dict(states), dict(errors or {})))
    return gradient, {name: found.get(name, jnp.zeros(())) for name in network.term_names}


def settled_gradient(network: Network, relaxation: Relaxation) -> tuple[PyTree, dict[str, Float[Array, ""]]]:
    """Return `energy_gradient` at the end of a relaxation.

    Terms that no error has reached are left out. Where the relaxation moved errors they are taken as they are: in
    single precision an error far below its state is lost in their difference.
    """
    return energy_gradient(network, relaxation.states, without=relaxation.untouched, errors=relaxation.errors)
