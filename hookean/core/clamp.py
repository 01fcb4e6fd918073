"""Clamps: which nodes, or which part of a node, are held at given values. Clamping makes the mode."""

from collections.abc import Mapping

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


class Masked(eqx.Module):
    """A clamp on a part of a node: held at `value` where `mask` is true, free elsewhere.

    The free part starts at `value` too, so that a corrupted input can be given as the starting point.
    """

    value: Float[Array, "*node"]
    mask: Bool[Array, "*node"]


#: What is held: a node's name -> its value, or a `Masked` value.
Clamps = Mapping[str, Array | Masked]


def value(clamp: Array | Masked) -> Array:
    """Return the values that a clamp gives to its node."""
    return clamp.value if isinstance(clamp, Masked) else clamp


def whole(clamps: Clamps) -> frozenset[str]:
    """Return the names of the nodes that are clamped as a whole."""
    return frozenset(name for name, clamp in clamps.items() if not isinstance(clamp, Masked))


def impose(states: Mapping[str, Array], clamps: Clamps) -> dict[str, Array]:
    """Return `states` with every clamp in force; clamped entries are bit-identical to their given values."""
    imposed = dict(states)
    for name, clamp in clamps.items():
        if isinstance(clamp, Masked):
            imposed[name] = jnp.where(clamp.mask, clamp.value, imposed[name])
        else:
            imposed[name] = clamp
    return imposed
