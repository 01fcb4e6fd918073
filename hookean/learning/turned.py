r"""Layers whose errors come down through weights that are turned away from those that signals go up through."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..core.builders.hopfield_mlp import Bond
from ..core.layers import Dense, keys
from ..core.network import Network
from ..core.parameters import Frozen
from .feedback import route


def turn(
    weight: Float[Array, "m n"], direction: Float[Array, "m n"], angle: Float[Array, ""] | float
) -> Float[Array, "m n"]:
    r"""Return $\cos\theta\,W + \sin\theta\,\lVert W\rVert N / \lVert N\rVert$, with N less its part along W.

    Arguments:
        weight: W.
        direction: N, the direction that W is turned to.
        angle: $\theta$ in degrees; the length of W stays.
    """
    length = jnp.linalg.norm(weight)
    along = jnp.sum(direction * weight) / jnp.maximum(length**2, jnp.finfo(weight.dtype).tiny)
    across = direction - along * weight
    radians = jnp.deg2rad(angle)
    return jnp.cos(radians) * weight + jnp.sin(radians) * length * across / jnp.linalg.norm(across)


class TurnedLinear(eqx.Module):
    r"""$Wx + b$, whose errors arrive at x through W turned by an angle: $B^\top\delta$ with $B = $ `turn(W, N, angle)`.

    The weights learn as ever. B follows W, always at the same angle.
    """

    weight: Float[Array, "m n"]
    bias: Float[Array, "m"] | None
    direction: Frozen
    angle: Frozen

    def product(self, source: Float[Array, "n"]) -> Float[Array, "m"]:
        """Return $Wx$."""
        back = jax.lax.stop_gradient(turn(self.weight, self.direction.value, self.angle.value))
        return self.weight @ jax.lax.stop_gradient(source) + route(back, source)

    def __call__(self, source: Float[Array, "n"]) -> Float[Array, "m"]:
        drive = self.product(source)
        return drive if self.bias is None else drive + self.bias


class TurnedBond(eqx.Module):
    r"""$-a^\top W b$ between two nodes; the pull of a on b goes through W turned by an angle."""

    linear: TurnedLinear

    def __call__(self, first: Float[Array, "*m"], second: Float[Array, "*n"]) -> Float[Array, ""]:
        return -first.reshape(-1) @ self.linear.product(second.reshape(-1))


def turned(network: Network, angle: float, *, key: PRNGKeyArray) -> Network:
    """Return the network with turned feedback in every dense layer and every bond.

    Arguments:
        angle: between feedback and forward weights, in degrees (0: as before, 90: no relation).
        key: for the directions, which stay the same from then on.
    """
    terms = {}
    for (name, term), k in zip(network.terms.items(), keys(key, len(network.terms)), strict=True):
        function = getattr(term, "function", None)
        if isinstance(function, Dense):
            weight, bias = function.linear.weight, function.linear.bias
            turned_linear = TurnedLinear(weight, bias, _direction(weight, k), Frozen(jnp.asarray(angle, float)))
            term = eqx.tree_at(lambda t: t.function.linear, term, turned_linear)
        elif isinstance(function, Bond):
            weight = function.weight
            turned_linear = TurnedLinear(weight, None, _direction(weight, k), Frozen(jnp.asarray(angle, float)))
            term = eqx.tree_at(lambda t: t.function, term, TurnedBond(turned_linear))
        terms[name] = term
    return Network(network.shapes, terms, input=network.input, output=network.output)


def _direction(weight: Float[Array, "m n"], key: PRNGKeyArray) -> Frozen:
    return Frozen(jax.random.normal(key, weight.shape, weight.dtype))
