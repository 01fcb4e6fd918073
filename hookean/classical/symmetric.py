r"""The energy that Hopfield networks and Boltzmann machines share: $E = -\frac12 s^\top W s - b^\top s$."""

from collections.abc import Mapping

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..core.term import AbstractTerm


class Symmetric(AbstractTerm):
    r"""A symmetric coupling of the units of one node: $E = -\frac12 s^\top W s - b^\top s$.

    The weights are used as $\frac12(W + W^\top)$ with a zero diagonal, so that training keeps them symmetric.

    Arguments:
        weight: W [n, n], symmetric with a zero diagonal.
        bias: b [n] (default zero).
        node: the node whose units it couples (default "s").

    Raises:
        ValueError: if concrete weights are not symmetric or have a diagonal.
    """

    nodes: tuple[str, ...] = eqx.field(static=True)
    weight: Float[Array, "n n"]
    bias: Float[Array, "n"]

    def __init__(self, weight: Float[Array, "n n"], bias: Float[Array, "n"] | None = None, *, node: str = "s"):
        _check(weight)
        self.nodes = (node,)
        self.weight = weight
        self.bias = jnp.zeros(weight.shape[0], weight.dtype) if bias is None else bias

    @property
    def size(self) -> int:
        """Number of units n."""
        return self.bias.shape[0]

    def couplings(self) -> Float[Array, "n n"]:
        """Return the weights in use: the symmetric part without the diagonal."""
        both = 0.5 * (self.weight + self.weight.T)
        return both - jnp.diag(jnp.diag(both))

    def energy(self, state: Float[Array, "n"]) -> Float[Array, ""]:
        """Return the energy of one state in nats."""
        return -0.5 * state @ self.couplings() @ state - self.bias @ state

    def field(self, state: Float[Array, "n"]) -> Float[Array, "n"]:
        r"""Return what pulls each unit, $h = Ws + b = -\partial E/\partial s$."""
        return self.couplings() @ state + self.bias

    def __call__(self, states: Mapping[str, Array]) -> Float[Array, ""]:
        return self.energy(states[self.nodes[0]])


def _check(weight: Array) -> None:
    try:
        values = np.asarray(weight)
    except Exception:  # traced weights have no values to look at
        return
    scale = float(np.abs(values).max(initial=0.0))
    rounding = 64 * float(np.finfo(values.dtype).eps) * scale
    if not np.allclose(values, values.T, rtol=0, atol=rounding):
        raise ValueError(
            f"weight must be symmetric, got a largest difference of {np.abs(values - values.T).max():.3g} from its "
            "transpose. Use (W + W.T) / 2."
        )
    if np.abs(np.diag(values)).max(initial=0.0) > rounding:
        raise ValueError(
            f"weight must have a zero diagonal, got up to {np.abs(np.diag(values)).max():.3g}. "
            "Subtract it: a unit's coupling to itself only holds it where it is."
        )
