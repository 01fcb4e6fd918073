r"""Sums over all states of small binary networks: exact probabilities, partition functions and moments, for oracles."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

#: Most units whose states are listed: 2^20 states of 20 units are 80 MB in float32.
MOST = 20


def all_states(units: int) -> Float[Array, "states units"]:
    r"""Return all $2^n$ states of n units, entries 0 and 1; unit 0 changes fastest.

    Raises:
        ValueError: beyond 20 units.
    """
    if not 0 <= units <= MOST:
        raise ValueError(f"units must be between 0 and {MOST} to list all states, got {units}. Sample instead.")
    bits = (np.arange(2**units)[:, None] >> np.arange(units)) & 1
    return jnp.asarray(bits, jnp.result_type(float))


def log_partition(energy: Callable[[Array], Array], units: int) -> Float[Array, ""]:
    r"""Return $\ln Z = \ln\sum_s e^{-E(s)}$ over all states.

    Arguments:
        energy: state with entries 0 and 1 -> nats.
        units: number of units, at most 20.

    Cost: 2^n energies.
    """
    return jax.nn.logsumexp(-jax.vmap(energy)(all_states(units)))


def probabilities(energy: Callable[[Array], Array], units: int) -> Float[Array, "states"]:
    """Return the probability of every state, in the order of `all_states`."""
    return jax.nn.softmax(-jax.vmap(energy)(all_states(units)))
