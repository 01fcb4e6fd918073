r"""Soft winner-take-all Hebbian learning: units compete for every input, and the winner moves towards it."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..core.layers import Dense
from .goodness import unit_length


def contrasted(state: Float[Array, "*units"]) -> Float[Array, "n"]:
    r"""Return the state less its mean over units, at mean square 1: what a competing layer reads."""
    flat = state.reshape(-1)
    return unit_length(flat - jnp.mean(flat))


def competes(layer: Dense, state: Float[Array, "*units"]) -> Float[Array, "m"]:
    r"""Return $\phi(u - \bar u)$ with $u = W\hat x + b$: activities relative to the layer's mean."""
    drive = layer.linear(contrasted(state))
    return layer.activation(drive - jnp.mean(drive))


def hebbian_loss(layer: Dense, state: Float[Array, "*units"], sharpness: float, repel: bool) -> Float[Array, ""]:
    r"""Return an objective whose gradient is the negative of the soft winner-take-all Hebbian rule.

    $\Delta w_k = s_k y_k (\hat x - u_k w_k)$ with $u_k = w_k^\top\hat x$, $y = \mathrm{softmax}(t\,(u + b))$, $s_k = 1$
    for the winner and $-1$ for the others where they `repel` (else 1). Its fixed points have $\lVert w_k\rVert = 1$. A
    bias moves by $\Delta b_k = 1/m - y_k$, which gives all m units the same share of the inputs.

    The value is $-\sum_k a_k\,(w_k^\top\hat x - \frac12 u_k \lVert w_k\rVert^2) + \sum_k (y_k - 1/m)\,b_k$, where
    $a_k = s_k y_k$, $y_k$ and $u_k$ are constants.

    Source: Journé et al. (2023), eqs. 2 and 3. The bias is not theirs.
    """
    weight, bias = layer.linear.weight, layer.linear.bias
    assert bias is not None
    source = contrasted(jax.lax.stop_gradient(state))
    drive = weight @ source
    shares = jax.nn.softmax(sharpness * (drive + bias))
    signs = jnp.where(jnp.arange(shares.size) == jnp.argmax(shares), 1.0, -1.0) if repel else 1.0
    pull, fixed, shares = jax.lax.stop_gradient((signs * shares, drive, shares))
    decay = 0.5 * jnp.sum(pull * fixed * jnp.sum(weight**2, axis=1))
    return decay - jnp.sum(pull * drive) + jnp.sum((shares - 1 / shares.size) * bias)
