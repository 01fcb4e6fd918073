"""The largest curvature of the energy, which bounds the rate of every gradient solver."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..core.clamp import Clamps, whole
from ..core.coordinates import AbstractCoordinates
from ..core.network import Network
from .objective import everywhere, norm


def largest_curvature(
    network: Network, clamps: Clamps, *, coordinates: AbstractCoordinates, iterations: int = 8, key: PRNGKeyArray
) -> Float[Array, "batch"]:
    r"""Return for every sample the largest eigenvalue, in size, of the energy's Hessian at the forward states.

    Power iteration with Hessian-vector products. Gradient descent on a quadratic energy is stable while its rate is
    below 2 divided by this number.

    Arguments:
        clamps: node -> values with a leading batch axis.
        coordinates: the free variables that the Hessian is taken in.
        iterations: of the power method; the estimate comes from below.
        key: for the first direction.

    Cost: two gradients of the energy an iteration.
    """
    free = frozenset(network.shapes) - whole(clamps)

    def one(clamps: Clamps, key: PRNGKeyArray) -> Float[Array, ""]:
        objective = everywhere(network, clamps, coordinates, {}, free)
        variables = coordinates.variables(network, network.forward(clamps), clamps)
        keys = jax.random.split(key, len(variables))
        pairs = zip(keys, variables.items(), strict=True)
        direction = {n: jax.random.normal(k, v.shape, v.dtype) for k, (n, v) in pairs}

        def turn(direction: dict[str, Array], _: None) -> tuple[dict[str, Array], Array]:
            size = norm(direction)
            unit = {n: (v / jnp.where(size > 0, size, 1)).astype(v.dtype) for n, v in direction.items()}
            ahead = jax.jvp(objective.gradient, (variables,), (unit,))[1]
            return ahead, norm(ahead)

        return jax.lax.scan(turn, direction, None, length=iterations)[1][-1]

    batch = len(jax.tree.leaves(dict(clamps))[0])
    return eqx.filter_vmap(one)(dict(clamps), jax.random.split(key, batch))
