"""Predictive coding as constrained optimisation: an augmented Lagrangian on the prediction errors."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..core import graph
from ..core.checks import at_least, positive
from ..core.clamp import Clamps
from ..core.network import Network
from ..learning.batch import mean_gradient
from .contract import AbstractAlgorithm, Info, Needs, Signal, TrainState, learn_once, require_output, require_whole


class PCALM(AbstractAlgorithm):
    r"""Augmented-Lagrangian predictive coding: every free node has a multiplier that integrates its error.

    With $r_i = x_i - \hat x_i$ and the Lagrangian
    $\ell(\hat y) + \sum_i \lambda_i^\top r_i + \frac{\rho}{2}\lVert r_i\rVert^2$, at each of T steps
    $x \leftarrow x - \eta\,\partial\mathcal L/\partial x$, then $\lambda \leftarrow \lambda + \alpha r$. The weights
    descend the Lagrangian with the multipliers as they were before the last step. At its stationary point the states
    are those of the forward pass and the gradient is backpropagation's. With $\alpha = 0$ this is PC.

    Arguments:
        rate: $\eta$ per sample (default 0.25; larger ones oscillate).
        multiplier_rate: $\alpha$ (default 1).
        penalty: $\rho$ (default 1).
        steps: T; None takes twice the number of terms, as published.
        optimiser: the weight rule; it sees the batch mean.

    Cost: T + 1 gradients of the energy a batch.

    Source: Seely & Gould (2026), PC-ALM.
    """

    rate: float = 0.25
    multiplier_rate: float = 1.0
    penalty: float = 1.0
    steps: int | None = None
    optimiser: optax.GradientTransformation = optax.adam(1e-3)

    label: ClassVar[str] = "PC-ALM"
    reference: ClassVar[str] = "Seely & Gould, arXiv 2605.31022 (2026)"
    cost: ClassVar[str] = "T + 1 energy gradients"
    needs: ClassVar[Needs] = Needs(symmetric_weights=True, phases=2)

    def __check_init__(self) -> None:
        positive("rate", self.rate)
        positive("penalty", self.penalty)
        if self.multiplier_rate < 0:
            raise ValueError(f"multiplier_rate must not be negative, got {self.multiplier_rate}.")
        if self.steps is not None:
            at_least("steps", self.steps, 1)

    def check(self, network: Network) -> None:
        require_output(network)
        order, cyclic = graph.forward_order(network.terms, [network.input] if network.input else [])
        if cyclic or len(order) < len(network.terms):
            raise ValueError("PCALM needs one prediction for each node and no cycle. Use PC.")
        if loose := [node for node in graph.unpredicted(network.terms) if node != network.input]:
            raise ValueError(f"PCALM needs a prediction of every free node, but nothing predicts {', '.join(loose)}.")

    def updates_per_batch(self) -> int:
        return 1

    def _steps(self, network: Network) -> int:
        return 2 * len(network.terms) if self.steps is None else self.steps

    def passes(self, network: Network) -> int:
        return 2 * self._steps(network) + 2

    def signal(
        self, network: Network, batch: Clamps, *, epoch: Int[Array, ""] | int, key: PRNGKeyArray, record: bool = False
    ) -> Signal:
        del epoch, key, record
        require_whole(batch, "PCALM")
        states, multipliers = eqx.filter_vmap(lambda sample: self._relaxed(network, sample))(dict(batch))
        gradient, _ = mean_gradient(lambda model, pair: self._lagrangian(model, *pair), network, (states, multipliers))
        energies = jax.tree.map(jnp.mean, jax.vmap(network.energies)(states))
        return Signal(gradient, energies, None, states)

    def step(self, state: TrainState, batch: Clamps, *, key: PRNGKeyArray) -> tuple[TrainState, Info]:
        return learn_once(self, state, batch, key=key)

    def _lagrangian(
        self, network: Network, states: dict[str, Array], multipliers: dict[str, Array]
    ) -> dict[str, Float[Array, ""]]:
        """Return the terms of the Lagrangian: losses at clamped targets, constraints at free ones."""
        found = {}
        for name, term in graph.predictions(network.terms).items():
            if term.target in multipliers:
                error = term.error(states)
                found[name] = jnp.sum(multipliers[term.target] * error) + 0.5 * self.penalty * jnp.sum(error**2)
            else:
                found[name] = term(states)
        return found

    def _relaxed(self, network: Network, sample: Clamps) -> tuple[dict[str, Array], dict[str, Array]]:
        """Return (states, multipliers before their last step) of one sample."""
        forward = network.forward(sample)
        terms = {term.target: term for term in graph.predictions(network.terms).values()}
        free = {node: forward[node] for node in network.shapes if node not in sample}

        def total(free: dict[str, Array], multipliers: dict[str, Array]) -> Float[Array, ""]:
            parts = self._lagrangian(network, forward | free, multipliers)
            return sum(parts.values(), start=jnp.zeros(()))

        def turn(carry: tuple, _: None) -> tuple[tuple, None]:
            free, multipliers, _before = carry
            slope = jax.grad(total)(free, multipliers)
            free = {node: state - self.rate * slope[node] for node, state in free.items()}
            states = forward | free
            moved = {n: m + self.multiplier_rate * terms[n].error(states) for n, m in multipliers.items()}
            return (free, moved, multipliers), None

        zero = jax.tree.map(jnp.zeros_like, free)
        (free, _, multipliers), _ = jax.lax.scan(turn, (free, zero, zero), None, length=self._steps(network))
        return forward | free, multipliers
