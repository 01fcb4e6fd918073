"""Equilibrium propagation on a predictive coding network, with a free output and updates in two alternating groups."""

from typing import ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from ..core import graph
from ..core.checks import at_least, positive
from ..core.clamp import Clamps, value
from ..core.network import Network
from ..learning.batch import mean_gradient
from ..learning.contrast import centred
from .contract import (
    AbstractAlgorithm,
    Info,
    Needs,
    Signal,
    TrainState,
    learn_once,
    require_fixed_densities,
    require_output,
    require_unit_hidden,
    require_whole,
)


class EPNudging(AbstractAlgorithm):
    r"""Equilibrium propagation of a predictive coding network: the loss, weighted by $\beta$, pulls at a free output.

    With u the output's prediction variable (logits where it is categorical), the energy is
    $\sum_i \frac12\lVert\varepsilon_i\rVert^2 + \frac12\lVert u - \hat y\rVert^2 + \beta\,\ell(u, y)$. The free
    phase is a forward pass, where every error is zero. The nudged phase takes K sweeps; in each, the nodes of even
    depth take a gradient step of rate 1, then those of odd depth (all at once they would diverge).

    Arguments:
        beta: strength of the nudge (default 0.02).
        sweeps: K (default 5; at least the number of terms on the way to the output for all layers to learn).
        phases: "centred" contrasts $+\beta$ and $-\beta$; "random" takes one phase with a random sign for each sample;
            "positive" takes $+\beta$ alone.
        nonnegative: project hidden states onto what a ReLU can give (the published networks).
        optimiser: the weight rule; it sees the batch mean.

    Cost: K gradients of the energy a phase, and one in the weights; two phases when centred.

    Source: Kerjan, Hoier & Scellier (2026). Theirs adds the signal from above before the ReLU, here it is added after.
    """

    beta: float = 0.02
    sweeps: int = 5
    phases: Literal["centred", "random", "positive"] = "centred"
    nonnegative: bool = False
    optimiser: optax.GradientTransformation = optax.adam(1e-3)

    label: ClassVar[str] = "PC-EP"
    reference: ClassVar[str] = "Kerjan, Hoier & Scellier, arXiv 2606.03584 (2026)"
    cost: ClassVar[str] = "K energy gradients a phase, two phases when centred"
    needs: ClassVar[Needs] = Needs(symmetric_weights=True, phases=3)

    def __check_init__(self) -> None:
        positive("beta", self.beta)
        at_least("sweeps", self.sweeps, 1)
        if self.phases not in ("centred", "random", "positive"):
            raise ValueError(f"phases must be centred, random or positive, got '{self.phases}'.")

    def check(self, network: Network) -> None:
        output = require_output(network)
        order, cyclic = graph.forward_order(network.terms, [network.input] if network.input else [])
        if cyclic or len(order) < len(network.terms):
            raise ValueError("EPNudging needs one prediction for each node and no cycle. Use PC.")
        if any(output in term.sources for term in graph.predictions(network.terms).values()):
            raise ValueError(f"EPNudging needs an output that predicts no other node, but '{output}' does. Use PC.")
        if any(term.target in term.sources for term in graph.predictions(network.terms).values()):
            raise ValueError("EPNudging needs nodes that do not predict themselves. For sequences use PC.")
        require_unit_hidden(network, "EPNudging")
        require_fixed_densities(network, "EPNudging")

    def updates_per_batch(self) -> int:
        return 1

    def passes(self, network: Network) -> int:
        del network
        return (2 if self.phases == "centred" else 1) * (2 * self.sweeps + 2)

    def signal(
        self, network: Network, batch: Clamps, *, epoch: Int[Array, ""] | int, key: PRNGKeyArray, record: bool = False
    ) -> Signal:
        del epoch, record
        require_whole(batch, "EPNudging")
        size = len(jax.tree.leaves(dict(batch))[0])
        if self.phases == "random":
            sign = jax.random.rademacher(key, (size,), float)
            return self._phase(network, batch, sign * self.beta)
        plus = self._phase(network, batch, jnp.full(size, self.beta))
        if self.phases == "positive":
            return plus
        minus = self._phase(network, batch, jnp.full(size, -self.beta))
        # Each phase comes divided by its beta; the contrast takes the gradients themselves.
        rising, falling = (
            jax.tree.map(lambda g, b=b: b * g, phase.gradient) for b, phase in ((self.beta, plus), (-self.beta, minus))
        )
        return Signal(centred(rising, falling, self.beta), plus.energies, None, plus.states)

    def step(self, state: TrainState, batch: Clamps, *, key: PRNGKeyArray) -> tuple[TrainState, Info]:
        return learn_once(self, state, batch, key=key)

    def _phase(self, network: Network, batch: Clamps, beta: Float[Array, "batch"]) -> Signal:
        r"""Relax every sample under its own nudge; the gradient comes divided by $\beta$."""
        output = require_output(network)
        states = eqx.filter_vmap(lambda sample, b: self._relaxed(network, sample, b))(dict(batch), beta)

        def energies(model: Network, pair: tuple[dict[str, Array], Array]) -> dict[str, Float[Array, ""]]:
            states, beta = pair
            return {n: e / beta for n, e in _springs(model, states, output).items()}

        gradient, _ = mean_gradient(energies, network, (states, beta))
        found = jax.tree.map(jnp.mean, jax.vmap(lambda s: _springs(network, s, output))(states))
        return Signal(gradient, found, None, states)

    def _relaxed(self, network: Network, sample: Clamps, beta: Float[Array, ""]) -> dict[str, Array]:
        output = require_output(network)
        target = value(sample[output])
        clamped = {node: clamp for node, clamp in sample.items() if node != output}
        states = network.forward(clamped)
        (last,) = (t for t in graph.predictions(network.terms).values() if t.target == output)
        states[output] = last.predict(states)

        def energy(states: dict[str, Array]) -> Float[Array, ""]:
            springs = sum(_springs(network, states, output).values(), start=jnp.zeros(()))
            return springs + beta * last.density.energy(target, states[output])

        def sweep(states: dict[str, Array], _: None) -> tuple[dict[str, Array], None]:
            for group in _groups(network, clamped):
                slope = jax.grad(lambda moved, held=states: energy(held | moved))({n: states[n] for n in group})
                for node in group:
                    moved = states[node] - slope[node]
                    states = states | {node: jax.nn.relu(moved) if self.nonnegative and node != output else moved}
            return states, None

        return jax.lax.scan(sweep, states, None, length=self.sweeps)[0]


def _springs(network: Network, states: dict[str, Array], output: str) -> dict[str, Float[Array, ""]]:
    """Return the energy of each term; the output's variable is its prediction, held by a spring of precision 1."""
    found = {}
    for name, term in graph.predictions(network.terms).items():
        if term.target == output:
            found[name] = 0.5 * jnp.sum((states[output] - term.predict(states)) ** 2)
        else:
            found[name] = term(states)
    return found


def _groups(network: Network, clamped: PyTree) -> tuple[list[str], ...]:
    """Return the free nodes of even depth, then those of odd depth, counted along the longest path."""
    terms = graph.predictions(network.terms)
    order, _ = graph.forward_order(network.terms, clamped)
    depth = dict.fromkeys(clamped, 0)
    for name in order:
        depth[terms[name].target] = 1 + max(depth.get(source, 0) for source in terms[name].sources)
    free = [node for node in network.shapes if node not in clamped]
    return tuple(g for g in ([n for n in free if depth.get(n, 0) % 2 == parity] for parity in (0, 1)) if g)
