"""Predictive coding with predictions held at the forward pass."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..core import graph
from ..core.checks import at_least
from ..core.clamp import Clamps, value
from ..core.network import Network
from ..learning.batch import mean_gradient
from .contract import (
    AbstractAlgorithm,
    Info,
    Needs,
    Signal,
    TrainState,
    learn_once,
    require_fixed_densities,
    require_output,
    require_whole,
)


class FixedPrediction(AbstractAlgorithm):
    r"""Fixed prediction: errors relax while predictions and their derivatives stay as in the forward pass.

    $\delta_i \leftarrow \delta_i - \eta\,(\delta_i - \sum_k J_{ki}^\top\delta_k)$ from zero, all nodes at once, with
    the output's $\delta$ the negative slope of its energy. The fixed point is backpropagation's delta, whatever the
    hidden precisions; with $\eta = 1$ it is reached after as many steps as there are free nodes on the longest path.

    Arguments:
        rate: $\eta$ in (0, 1] (default 1).
        steps: T; None takes as many as there are free nodes, enough at rate 1 for every graph but those over
            sequences, which need one for every time and every layer.
        optimiser: the weight rule; it sees the batch mean.

    Cost: one forward pass, T passes backward, one gradient in the weights.

    Source: Millidge, Tschantz & Buckley (2022); Rosenbaum (2022); Ha et al. (2026) with weight normalisation.
    """

    rate: float = 1.0
    steps: int | None = None
    optimiser: optax.GradientTransformation = optax.adam(1e-3)

    label: ClassVar[str] = "PC-fixed"
    reference: ClassVar[str] = "Millidge, Tschantz & Buckley, Neural Computation 34 (2022); Ha et al., ICLR (2026)"
    cost: ClassVar[str] = "one forward pass, T backward, one gradient in the weights"
    needs: ClassVar[Needs] = Needs(symmetric_weights=True, phases=2)

    def __check_init__(self) -> None:
        if not 0 < self.rate <= 1:
            raise ValueError(f"rate must be in (0, 1], got {self.rate}.")
        if self.steps is not None:
            at_least("steps", self.steps, 0)

    def check(self, network: Network) -> None:
        require_output(network)
        order, cyclic = graph.forward_order(network.terms, [network.input] if network.input else [])
        if cyclic or len(order) < len(network.terms):
            raise ValueError("FixedPrediction needs one prediction for each node and no cycle. Use PC.")
        if self.steps is None and any(t.target in t.sources for t in graph.predictions(network.terms).values()):
            raise ValueError("FixedPrediction over a sequence needs `steps`: one for every time and every layer.")
        require_fixed_densities(network, "FixedPrediction")

    def updates_per_batch(self) -> int:
        return 1

    def _steps(self, network: Network) -> int:
        return len(network.terms) - 1 if self.steps is None else self.steps

    def passes(self, network: Network) -> int:
        return self._steps(network) + 3

    def signal(
        self, network: Network, batch: Clamps, *, epoch: Int[Array, ""] | int, key: PRNGKeyArray, record: bool = False
    ) -> Signal:
        del epoch, key, record
        require_whole(batch, "FixedPrediction")
        states, deltas = eqx.filter_vmap(lambda sample: self._relaxed(network, sample))(dict(batch))

        def pull(model: Network, sample: tuple[dict[str, Array], dict[str, Array]]) -> dict[str, Float[Array, ""]]:
            found, delta = sample
            return {n: -jnp.sum(delta[n] * p) for n, p in model.predictions(found).items()}

        gradient, _ = mean_gradient(pull, network, (states, deltas))
        energies = jax.tree.map(jnp.mean, jax.vmap(network.energies)(states))
        return Signal(gradient, energies, None, None)

    def step(self, state: TrainState, batch: Clamps, *, key: PRNGKeyArray) -> tuple[TrainState, Info]:
        return learn_once(self, state, batch, key=key)

    def _relaxed(self, network: Network, sample: Clamps) -> tuple[dict[str, Array], dict[str, Array]]:
        """Return (forward states, delta by term) of one sample."""
        states = network.forward(sample)
        terms = graph.predictions(network.terms)
        targets = {name: term.target for name, term in terms.items()}
        free = [node for node in network.shapes if node not in sample]
        predicted, back = jax.vjp(
            lambda moved: network.predictions(states | moved), {node: states[node] for node in free}
        )
        held = {
            name: -jax.grad(terms[name].density.energy, argnums=1)(value(sample[targets[name]]), predicted[name])
            for name in terms
            if targets[name] in sample
        }

        def by_term(deltas: dict[str, Array]) -> dict[str, Array]:
            return {name: held[name] if name in held else deltas[targets[name]] for name in terms}

        def turn(deltas: dict[str, Array], _: None) -> tuple[dict[str, Array], None]:
            arriving = back(by_term(deltas))[0]
            return {n: d - self.rate * (d - arriving[n]) for n, d in deltas.items()}, None

        start = {node: jnp.zeros_like(states[node]) for node in free}
        deltas = jax.lax.scan(turn, start, None, length=self._steps(network))[0]
        return states, by_term(deltas)
