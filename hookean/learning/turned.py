r"""Layers whose errors come down through weights that are turned away from those that signals go up through."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..core.builders.hopfield_mlp import Bond
from ..core.layers import Dense, keys
from ..core.network import Network
from ..core.parameters import Frozen
from ..core.term import AbstractTerm
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
    """Return the network with turned feedback in every dense layer and every bond, those inside other layers included.

    Arguments:
        angle: between feedback and forward weights, in degrees (0: as before, 90: no relation).
        key: for the directions, which stay the same from then on.
    """
    terms = {
        name: _turned(term, angle, key=k)
        for (name, term), k in zip(network.terms.items(), keys(key, len(network.terms)), strict=True)
    }
    return Network(network.shapes, terms, input=network.input, output=network.output)


def _turned(term: AbstractTerm, angle: float, *, key: PRNGKeyArray) -> AbstractTerm:
    """Return the term with turned feedback in the dense layers and bonds that it holds, however deep."""

    def known(part: Any) -> bool:
        return isinstance(part, Dense | Bond)

    parts, tree = jax.tree.flatten(term, is_leaf=known)
    places = [i for i, part in enumerate(parts) if known(part)]
    for number, i in enumerate(places):
        part, k = parts[i], key if number == 0 else jax.random.fold_in(key, number)
        if isinstance(part, Dense):
            linear = _turned_linear(part.linear.weight, part.linear.bias, angle, key=k)
            parts[i] = eqx.tree_at(lambda layer: layer.linear, part, linear)
        else:
            parts[i] = TurnedBond(_turned_linear(part.weight, None, angle, key=k))
    return jax.tree.unflatten(tree, parts)


def _turned_linear(
    weight: Float[Array, "m n"], bias: Float[Array, "m"] | None, angle: float, *, key: PRNGKeyArray
) -> TurnedLinear:
    return TurnedLinear(weight, bias, _direction(weight, key), Frozen(jnp.asarray(angle, weight.dtype)))


def _direction(weight: Float[Array, "m n"], key: PRNGKeyArray) -> Frozen:
    return Frozen(jax.random.normal(key, weight.shape, weight.dtype))
