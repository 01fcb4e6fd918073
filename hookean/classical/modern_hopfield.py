r"""Modern Hopfield networks: continuous states, exponential capacity, and softmax attention as the update."""

from collections.abc import Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ..core.checks import positive
from ..core.network import Network
from ..core.term import AbstractTerm


class ModernHopfield(AbstractTerm):
    r"""$E(\xi) = -\beta^{-1}\ln\sum_\mu \exp\beta(x_\mu\cdot\xi + c_\mu) + \frac12\xi^\top\xi + \text{const}$.

    The constant is $\beta^{-1}\ln N + \frac12 M^2$, M the largest norm of a stored pattern. The update
    $\xi \leftarrow \sum_\mu p_\mu x_\mu$ with $p = \mathrm{softmax}\,\beta(X\xi + c)$ is
    $\xi - \partial E/\partial\xi$, a gradient step of rate 1, and never raises the energy. With c = 0 it is attention
    with the patterns as keys and values. With $c_\mu = -\frac12\lVert x_\mu\rVert^2$ the similarity is
    $-\frac12\lVert x_\mu - \xi\rVert^2$ up to a part that all patterns share, and E the negative log density of a
    mixture of Gaussians of variance $1/\beta$ around the patterns.

    Arguments:
        patterns: stored patterns x, one a row.
        beta: inverse temperature $\beta$ (default 1): large retrieves single patterns, small their mean.
        offsets: c, one for each pattern (default zero: the dot product).
        node: name of the node that holds the state (default "s").

    Cost: two products with the matrix of patterns an update.

    Source: Ramsauer et al. (2021), eq. 1 and 3; offsets as in Millidge et al. (2022), similarity by distance.
    """

    nodes: tuple[str, ...] = eqx.field(static=True)
    patterns: Float[Array, "p n"]
    offsets: Float[Array, "p"]
    beta: float | Float[Array, ""]

    def __init__(
        self,
        patterns: Float[Array, "p n"],
        beta: float | Float[Array, ""] = 1.0,
        offsets: Float[Array, "p"] | None = None,
        *,
        node: str = "s",
    ):
        positive("beta", beta)
        self.nodes = (node,)
        self.patterns = patterns
        self.offsets = jnp.zeros(len(patterns), patterns.dtype) if offsets is None else offsets
        self.beta = beta

    def network(self) -> Network:
        """Return the network of one node with this energy, for the relaxation."""
        return Network({self.nodes[0]: self.patterns.shape[1]}, {"memory": self})

    def attention(self, state: Float[Array, "n"], known: Bool[Array, "n"] | None = None) -> Float[Array, "p"]:
        r"""Return $p = \mathrm{softmax}\,\beta(X\xi + c)$.

        Arguments:
            known: the entries of the state that are compared (default: all). Offsets must then be those of the
                compared part; `by_distance` has them.
        """
        compared = state if known is None else jnp.where(known, state, 0)
        return jax.nn.softmax(self.beta * (compared @ self.patterns.T + self.offsets))

    def update(self, state: Float[Array, "n"], known: Bool[Array, "n"] | None = None) -> Float[Array, "n"]:
        """Return the state after one update, the mean of the patterns under the attention to them."""
        return self.attention(state, known) @ self.patterns

    def __call__(self, states: Mapping[str, Array]) -> Float[Array, ""]:
        state = states[self.nodes[0]]
        count = len(self.patterns)
        largest = jnp.max(jnp.sum(jnp.square(self.patterns), axis=1))
        similarity = jax.nn.logsumexp(self.beta * (state @ self.patterns.T + self.offsets))
        return -(similarity - jnp.log(count)) / self.beta + 0.5 * state @ state + 0.5 * largest


def by_distance(
    patterns: Float[Array, "p n"], beta: float | Float[Array, ""], known: Bool[Array, "n"] | None = None
) -> ModernHopfield:
    r"""Build the network that compares by distance, $-\frac12\lVert x_\mu - \xi\rVert^2$ over the known entries.

    Its update is the conditional mean of the unknown entries under the mixture of Gaussians, given the known ones.
    """

    def offset(pattern: Array) -> Array:
        return -0.5 * jnp.sum(jnp.square(pattern if known is None else jnp.where(known, pattern, 0)))

    return ModernHopfield(patterns, beta, jax.vmap(offset)(patterns))
