r"""Difference target propagation: targets for every layer from those of the layer above, through learned feedback."""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..core.layers import Dense
from ..core.term import Prediction


def answers(chain: Sequence[Prediction], sample: Float[Array, "*input"]) -> list[Array]:
    """Return the output of every layer of a chain for one sample, the last as it comes (logits where categorical)."""
    states = []
    state: Array = sample
    for term in chain:
        found = term.function(state)
        states.append(found)
        state = term.density.mean(found)
    return states


def difference_targets(
    states: Sequence[Array], last: Float[Array, "*output"], feedback: Mapping[str, Dense], names: Sequence[str]
) -> list[Array]:
    r"""Return the target of every layer: $\hat h_l = h_l + g_l(\hat h_{l+1}) - g_l(h_{l+1})$.

    The difference keeps a layer where it is when the layer above is where it should be, whether g is an inverse or not.

    Arguments:
        states: $h_l$ of every layer, from the first to the output.
        last: target of the output.
        feedback: node -> $g_l$, from the node above to this one, for every layer but the output.
        names: node of every layer.

    Source: Lee, Zhang, Fischer & Bengio (2015), eq. 15.
    """
    targets = [last]
    for name, state, above in zip(names[-2::-1], states[-2::-1], states[:0:-1], strict=True):
        targets.insert(0, state + feedback[name](targets[0]) - feedback[name](above))
    return targets


def reconstruction(
    forward: Prediction, feedback: Dense, state: Float[Array, "n"], noise: Float[Array, "n"]
) -> Float[Array, ""]:
    r"""Return $\frac12\lVert g(f(h + \xi)) - (h + \xi)\rVert^2$, whose minimum over g is an inverse of f near h.

    Source: Lee et al. (2015), eq. 14.
    """
    near = state + noise
    return 0.5 * jnp.sum((feedback(forward.function(near)) - near) ** 2)


def difference_reconstruction(
    forward: Prediction,
    feedback: Dense,
    state: Float[Array, "n"],
    noise: Float[Array, "n"],
    noise_above: Float[Array, "*m"],
) -> Float[Array, ""]:
    r"""Return $-\xi^\top\left(g(f(h+\xi)) - g(f(h))\right) + \frac12\lVert g(f(h) + \eta) - g(f(h))\rVert^2$.

    To lowest order its minimum over g has the transposed Jacobian of f, so that targets carry backpropagation's
    gradients.

    Source: Ernoult et al. (2022), eq. 10 (local difference reconstruction loss).
    """
    above = forward.function(state)
    here = feedback(above)
    moved = feedback(forward.function(state + noise))
    return -jnp.sum(noise * (moved - here)) + 0.5 * jnp.sum((feedback(above + noise_above) - here) ** 2)


def layer_losses(
    chain: Sequence[Prediction], sample: Float[Array, "*input"], targets: Sequence[Array]
) -> list[Float[Array, ""]]:
    r"""Return $\frac12\lVert f_l(h_{l-1}) - \hat h_l\rVert^2$ of every layer; no gradient passes between layers."""
    losses = []
    state: Array = sample
    for term, target in zip(chain, targets, strict=True):
        found = term.function(jax.lax.stop_gradient(state))
        losses.append(0.5 * jnp.sum((found - jax.lax.stop_gradient(target)) ** 2))
        state = term.density.mean(found)
    return losses
