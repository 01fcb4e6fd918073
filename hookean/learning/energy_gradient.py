r"""The learning rule of predictive coding: $\dot W = -\partial E/\partial W$ at the states where inference arrived."""

from collections.abc import Collection, Mapping

import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..core.network import Network
from ..inference.relax import Relaxation
from .batch import mean_gradient


def energy_gradient(
    network: Network, states: Mapping[str, Array], *, without: Collection[str] = ()
) -> tuple[PyTree, dict[str, Float[Array, ""]]]:
    r"""Return the batch mean of $\partial E/\partial W$ at `states` (leading batch axis) and of each term's energy.

    Arguments:
        without: terms that are known to have no energy and no gradient; they are not evaluated.

    Cost: one gradient of the energy.
    """
    only = [name for name in network.term_names if name not in without]
    gradient, energies = mean_gradient(lambda model, sample: model.energies(sample, only=only), network, dict(states))
    return gradient, {name: energies.get(name, jnp.zeros(())) for name in network.term_names}


def settled_gradient(network: Network, relaxation: Relaxation) -> tuple[PyTree, dict[str, Float[Array, ""]]]:
    """Return `energy_gradient` at the end of a relaxation, leaving out the terms that no error has reached."""
    return energy_gradient(network, relaxation.states, without=relaxation.untouched)
