r"""Restricted Boltzmann machines: no weights inside a layer, so that a layer is drawn at once."""

from collections.abc import Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, Real

from ..core.checks import widths
from ..core.term import AbstractTerm
from .enumeration import all_states

#: Scale of the first weights.
SCALE = 0.01


class RestrictedBoltzmann(AbstractTerm):
    r"""$E(v, h) = -a^\top v - c^\top h - v^\top W h$ with $v \in \{0,1\}^D$, $h \in \{0,1\}^H$.

    $p(h_j = 1 \mid v) = \sigma(c + W^\top v)_j$ and $p(v_i = 1 \mid h) = \sigma(a + Wh)_i$. It is a term of v and h:
    `Network({"v": D, "h": H}, {"bond": rbm})` has this energy.

    Arguments:
        visible, hidden: numbers of units D and H.
        rates: mean of every visible unit, which sets the first a to its logit (default: one half, a = 0). Means are
            kept 1e-3 away from 0 and 1, so that a pixel that is always black has a finite logit.
        key: for W, normal with standard deviation 0.01; c starts at 0.

    Source: Smolensky (1986); first values as in Hinton (2012).
    """

    nodes: tuple[str, ...] = eqx.field(static=True)
    weight: Float[Array, "d h"]
    visible_bias: Float[Array, "d"]
    hidden_bias: Float[Array, "h"]

    def __init__(self, visible: int, hidden: int, *, rates: Float[Array, "d"] | None = None, key: PRNGKeyArray):
        widths("visible and hidden", (visible, hidden))
        self.nodes = ("v", "h")
        self.weight = SCALE * jax.random.normal(key, (visible, hidden))
        self.visible_bias = jnp.zeros(visible) if rates is None else logit(rates)
        self.hidden_bias = jnp.zeros(hidden)

    def __call__(self, states: Mapping[str, Array]) -> Float[Array, ""]:
        v, h = (states[name] for name in self.nodes)
        return -self.visible_bias @ v - self.hidden_bias @ h - v @ self.weight @ h

    def hidden_logits(self, visible: Float[Array, "d"]) -> Float[Array, "h"]:
        """Return the logit of each hidden unit given the visible ones."""
        return visible @ self.weight + self.hidden_bias

    def visible_logits(self, hidden: Float[Array, "h"]) -> Float[Array, "d"]:
        """Return the logit of each visible unit given the hidden ones."""
        return self.weight @ hidden + self.visible_bias

    def free_energy(self, visible: Float[Array, "d"]) -> Float[Array, ""]:
        r"""Return $F(v) = -\ln\sum_h e^{-E} = -a^\top v - \sum_j\mathrm{softplus}(c + W^\top v)_j$ in nats."""
        return -visible @ self.visible_bias - jnp.sum(jax.nn.softplus(self.hidden_logits(visible)))

    def sweep(self, visible: Float[Array, "d"], *, key: PRNGKeyArray) -> Float[Array, "d"]:
        """Draw all hidden units given the visible ones, then all visible ones given those: v -> h -> v.

        Cost: two products with the weights.
        """
        keys = jax.random.split(key)
        return draw(self.visible_logits(draw(self.hidden_logits(visible), key=keys[0])), key=keys[1])

    def sample(self, visible: Real[Array, "d"], *, sweeps: int, key: PRNGKeyArray) -> Float[Array, "d"]:
        """Return the visible units after so many sweeps from `visible`, bits of any dtype, in that of the weights."""

        def body(v: Array, key: PRNGKeyArray) -> tuple[Array, None]:
            return self.sweep(v, key=key), None

        first = visible.astype(self.weight.dtype)
        return jax.lax.scan(body, first, jax.random.split(key, sweeps))[0]

    def reconstruct(self, visible: Float[Array, "d"]) -> Float[Array, "d"]:
        """Return the mean of the visible units given the mean of the hidden ones given `visible`."""
        return jax.nn.sigmoid(self.visible_logits(jax.nn.sigmoid(self.hidden_logits(visible))))

    def log_partition(self) -> Float[Array, ""]:
        r"""Return $\ln Z$ by enumeration of the smaller layer, at most 20 units; the other has a closed form.

        Cost: 2^min(D, H) free energies, in blocks of 1024.
        """
        few_hidden = self.weight.shape[1] <= self.weight.shape[0]
        states = all_states(min(self.weight.shape))

        def weigh(state: Array) -> Array:
            if few_hidden:
                return state @ self.hidden_bias + jnp.sum(jax.nn.softplus(self.visible_logits(state)))
            return -self.free_energy(state)

        return jax.nn.logsumexp(jax.lax.map(weigh, states, batch_size=min(len(states), 1024)))


def draw(logits: Float[Array, "*n"], *, key: PRNGKeyArray) -> Float[Array, "*n"]:
    """Return independent bits, 0 or 1, with the given logits."""
    return (jax.random.uniform(key, logits.shape, logits.dtype) < jax.nn.sigmoid(logits)).astype(logits.dtype)


def logit(rates: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """Return the logit of means, kept 1e-3 away from 0 and 1."""
    kept = jnp.clip(rates, 1e-3, 1 - 1e-3)
    return jnp.log(kept) - jnp.log1p(-kept)
