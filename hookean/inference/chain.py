"""Chains of samples: a stochastic solver driven for long, with states kept on the way."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, PRNGKeyArray

from ..core.clamp import Clamps
from ..core.network import Network
from .stepwise import Stepwise


class Chains(eqx.Module):
    """Where the chains of a batch stand: the states of all nodes and the memory of the solver, with a batch axis."""

    states: dict[str, Array]
    memory: Any


def walk(
    stepwise: Stepwise, network: Network, clamps: Clamps, chains: Chains, *, steps: int, key: PRNGKeyArray
) -> Chains:
    """Return where the chains stand after so many steps more.

    Cost: `steps` gradients of the energy.
    """

    def body(t: Array, chains: Chains) -> Chains:
        return Chains(*stepwise.step(network, clamps, chains.states, chains.memory, jax.random.fold_in(key, t)))

    return jax.lax.fori_loop(0, steps, body, chains)


def draw(
    stepwise: Stepwise,
    network: Network,
    clamps: Clamps,
    chains: Chains,
    *,
    draws: int,
    every: int,
    keep: Callable[[dict[str, Array]], Any],
    key: PRNGKeyArray,
) -> tuple[Chains, Any]:
    """Return (the chains, what was kept of every draw): `draws` times `every` steps and a look.

    Arguments:
        keep: from the states of all nodes, with a batch axis, to what is kept of them.

    Returns:
        The chains where they stand afterwards, and a tree of arrays [draws, ...].
    """

    def body(chains: Chains, key: PRNGKeyArray) -> tuple[Chains, Any]:
        chains = walk(stepwise, network, clamps, chains, steps=every, key=key)
        return chains, keep(chains.states)

    return jax.lax.scan(body, chains, jax.random.split(key, draws))
