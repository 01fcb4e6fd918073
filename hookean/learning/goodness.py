r"""Forward-forward's local objective: a layer is to be strongly active for true data, and weakly for false data."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..core.layers import Dense

#: Keeps the length of an input without any activity from dividing by zero.
LEAST = 1e-8


def unit_length(state: Float[Array, "*units"]) -> Float[Array, "*units"]:
    r"""Return $\hat x = x / \mathrm{rms}(x)$: the direction is kept, the length is not.

    A layer that reads $\hat x$ cannot tell true from false data by how active the layer below was.
    """
    return state * jax.lax.rsqrt(jnp.mean(state**2) + LEAST)


def respond(layer: Dense, state: Float[Array, "*units"]) -> Float[Array, "m"]:
    r"""Return $\phi(W\hat x + b)$: the answer of a layer to an input whose length is taken away."""
    return layer(unit_length(state))


def goodness(state: Float[Array, "m"]) -> Float[Array, ""]:
    r"""Return $G = \sum_j h_j^2$ of the activities of one layer."""
    return jnp.sum(state**2)


def contrast(
    true: Float[Array, "m"], false: Float[Array, "m"], threshold: float, temperature: float
) -> Float[Array, ""]:
    r"""Return the loss of a layer in nats: how surely it takes true data for true and false data for false.

    $p(\text{true}) = \sigma((G - \theta n)/\tau)$ with n units, and the loss is
    $-\log p(\text{true}\,|\,h^+) - \log(1 - p(\text{true}\,|\,h^-))$. With the sum of squares as G, $\theta = 1$ and
    $\tau = n$ are the same as the mean of squares with a threshold of 1 and a temperature of 1.

    Arguments:
        true, false: activities $h^+$ and $h^-$ of the layer.
        threshold: $\theta$ for each unit.
        temperature: $\tau$.

    Source: Hinton (2022), eq. 1, and section 3.3 for the supervised form.
    """
    plus, minus = ((goodness(state) - threshold * state.size) / temperature for state in (true, false))
    return jax.nn.softplus(-plus) + jax.nn.softplus(minus)
