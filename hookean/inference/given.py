"""Checks of what a relaxation is given: clamps that fit the network, and a key where something draws."""

import jax
from jaxtyping import PRNGKeyArray

from ..core.clamp import Clamps, Masked
from ..core.network import Network
from ..registry import nearest


def batch_size(network: Network, clamps: Clamps) -> int:
    """Check clamps against the network and return the common length of their leading axis.

    Raises:
        ValueError: if a clamp names an unknown node or has a wrong shape, or batch sizes differ.
    """
    sizes: dict[str, int] = {}
    for name, clamp in clamps.items():
        if name not in network.shapes:
            raise ValueError(f"clamps name the node '{name}', which is unknown. {nearest(name, network.shapes)}")
        parts = [clamp.value, clamp.mask] if isinstance(clamp, Masked) else [clamp]
        for part in parts:
            if part.shape[1:] != network.shapes[name] or part.ndim == 0:
                raise ValueError(
                    f"the clamp on '{name}' must have shape (batch, {', '.join(map(str, network.shapes[name]))}), "
                    f"got {part.shape}."
                )
            sizes.setdefault(name if part is parts[0] else f"mask of {name}", part.shape[0])
    if len(set(sizes.values())) != 1:
        raise ValueError(f"clamps must share one batch size, got {sizes or 'no clamp'}.")
    return next(iter(sizes.values()))


def key_for(key: PRNGKeyArray | None, *, draws: bool) -> PRNGKeyArray:
    """Return the key, or any one where none is given and nothing draws.

    Raises:
        ValueError: if no key is given where the solver or the initialiser draws.
    """
    if key is None and draws:
        raise ValueError("key must be given: the solver or the initialiser draws random numbers.")
    return jax.random.key(0) if key is None else key
