r"""Boltzmann machines: binary units, drawn block by block, that learn by the contrast of two phases."""

import equinox as eqx
import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ..core.checks import at_least
from .enumeration import all_states, log_partition
from .symmetric import Symmetric


class BoltzmannMachine(eqx.Module):
    r"""Units $s \in \{0, 1\}^n$ with $p(s) \propto e^{-E(s)}$ and $E = -\frac12 s^\top W s - b^\top s$.

    $p(s_i = 1 \mid \text{rest}) = \sigma(h_i)$ with the field $h = Ws + b$. Units that no weight couples are drawn at
    once; all at once, coupled ones among them, would sample another distribution.

    Arguments:
        coupling: weights and bias; pairs with weight 0 stay without a weight.
        visible: the first so many units are visible, the others hidden (default: all are visible).

    Source: Ackley, Hinton & Sejnowski (1985).
    """

    coupling: Symmetric
    visible: int = eqx.field(static=True)
    blocks: Int[np.ndarray, "blocks width"]  # units that no weight couples; n fills up the shorter blocks
    edges: Bool[np.ndarray, "n n"]

    def __init__(self, coupling: Symmetric, visible: int | None = None):
        size = coupling.size
        self.coupling = coupling
        self.visible = size if visible is None else visible
        if not 1 <= self.visible <= size:
            raise ValueError(f"visible must be between 1 and the number of units, {size}, got {visible}.")
        self.edges = np.asarray(coupling.couplings()) != 0
        self.blocks = independent_blocks(self.edges)

    def sweep(
        self, state: Float[Array, "n"], *, held: Bool[Array, "n"] | None = None, key: PRNGKeyArray
    ) -> Float[Array, "n"]:
        """Draw every unit once given the others, block by block.

        Arguments:
            state: entries 0 and 1.
            held: units that keep their value (default: none).

        Cost: n^2.
        """
        weight, bias = self.coupling.couplings(), self.coupling.bias
        free = jnp.ones(state.shape, bool) if held is None else ~held

        def draw(state: Array, xs: tuple[Array, Array]) -> tuple[Array, None]:
            block, key = xs
            drawn = jax.random.bernoulli(key, jax.nn.sigmoid(weight[block] @ state + bias[block]))
            new = jnp.where(free[block], drawn, state[block])
            return state.at[block].set(new.astype(state.dtype), mode="drop"), None

        return jax.lax.scan(draw, state, (jnp.asarray(self.blocks), jax.random.split(key, len(self.blocks))))[0]

    def chain(
        self, state: Float[Array, "n"], *, sweeps: int, held: Bool[Array, "n"] | None = None, key: PRNGKeyArray
    ) -> Float[Array, "sweeps n"]:
        """Return the states after each of `sweeps` sweeps."""
        at_least("sweeps", sweeps, 1)

        def body(state: Array, key: PRNGKeyArray) -> tuple[Array, Array]:
            state = self.sweep(state, held=held, key=key)
            return state, state

        return jax.lax.scan(body, state, jax.random.split(key, sweeps))[1]

    def log_likelihood(self, visible: Float[Array, "v"]) -> Float[Array, ""]:
        r"""Return $\ln p(v) = \ln\sum_h e^{-E(v, h)} - \ln Z$ in nats, by enumeration (at most 20 units)."""
        hidden = all_states(self.coupling.size - self.visible)
        joined = jax.vmap(lambda h: self.coupling.energy(jnp.concatenate([visible, h])))(hidden)
        return jax.nn.logsumexp(-joined) - log_partition(self.coupling.energy, self.coupling.size)

    def likelihood_gradient(self, visible: Float[Array, "batch v"]) -> Symmetric:
        """Return the exact gradient of the mean log-likelihood in weights and bias, by enumeration.

        The two entries of a pair share its derivative, as in `contrast`.
        """

        def mean(coupling: Symmetric) -> Array:
            model = eqx.tree_at(lambda m: m.coupling, self, coupling)
            return jnp.mean(jax.vmap(model.log_likelihood)(visible))

        return self._on_edges(jax.grad(mean)(self.coupling))

    def contrast(self, clamped: Float[Array, "a n"], free: Float[Array, "b n"]) -> Symmetric:
        r"""Return the estimate of the likelihood's gradient from samples of two phases.

        $\frac12(\langle s_i s_j\rangle_{\text{clamped}} - \langle s_i s_j\rangle_{\text{free}})$ in each of the two
        entries $W_{ij}$ and $W_{ji}$, which share the derivative of their pair, and
        $\langle s_i\rangle_{\text{clamped}} - \langle s_i\rangle_{\text{free}}$ for the bias.

        Arguments:
            clamped: states with the visible units held at data and the hidden ones drawn.
            free: states drawn without any clamp.
        """

        def difference(coupling: Symmetric) -> Array:
            energies = jax.vmap(coupling.energy)
            return jnp.mean(energies(free)) - jnp.mean(energies(clamped))

        return self._on_edges(jax.grad(difference)(self.coupling))

    def _on_edges(self, gradient: Symmetric) -> Symmetric:
        return eqx.tree_at(lambda c: c.weight, gradient, jnp.where(self.edges, gradient.weight, 0))


def independent_blocks(edges: Bool[np.ndarray, "n n"]) -> Int[np.ndarray, "blocks width"]:
    """Colour the graph greedily, most constrained unit first, and return the units of each colour, filled up with n."""
    colour = nx.greedy_color(nx.from_numpy_array(edges), strategy="saturation_largest_first")
    groups = [[i for i in colour if colour[i] == c] for c in range(max(colour.values()) + 1)]
    width = max(map(len, groups))
    return np.array([sorted(group) + [len(edges)] * (width - len(group)) for group in groups])
