"""A guard for steps that may overshoot: halved until the energy of the sample does not rise."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .objective import Objective, Variables, add


def shortened(objective: Objective, variables: Variables, move: Variables, halvings: int) -> Variables:
    """Halve a step until it does not raise the energy; take no step where that does not help.

    Cost: a forward pass for the energy at the start, and one for each length that is tried.
    """

    def energy(factor: Float[Array, ""]) -> Float[Array, ""]:
        return objective.total(objective.energies(add(variables, factor, move)))

    def raises(carry: tuple[Array, Array]) -> Bool[Array, ""]:
        times, factor = carry
        return (times <= halvings) & ~(energy(factor) <= begun + rounding)

    begun = energy(jnp.zeros(()))
    rounding = 8 * jnp.finfo(begun.dtype).eps * jnp.abs(begun)
    start = (jnp.zeros((), jnp.int32), jnp.ones(()))
    times, factor = jax.lax.while_loop(raises, lambda carry: (carry[0] + 1, carry[1] / 2), start)
    taken = jnp.where(times <= halvings, factor, 0)
    return {name: (taken * value).astype(value.dtype) for name, value in move.items()}
