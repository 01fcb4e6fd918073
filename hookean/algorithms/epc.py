"""Error-based predictive coding: gradient descent on the prediction errors."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..core.checks import at_least, positive
from ..core.clamp import Clamps
from ..core.coordinates import ErrorCoordinates
from ..core.network import Network
from ..inference.curvature import largest_curvature
from ..inference.gradient import Gradient
from ..inference.relax import relax
from ..learning.energy_gradient import settled_gradient
from .contract import AbstractAlgorithm, Info, Needs, Signal, TrainState, apply_gradient, diverged_fraction


class EPC(AbstractAlgorithm):
    r"""Error-based predictive coding: T gradient steps on the errors, from zero, then one weight update.

    After few small steps the errors are $\eta T$ times backpropagation's deltas, and the weight gradient has nearly its
    direction. The gradient is divided by $\min(1, \eta T)$, as published.

    Arguments:
        rate: $\eta$, the most a step moves per sample (default 0.001, as published).
        steps: T (default 5, as published).
        momentum: of the errors, in [0, 1) (default 0).
        safety: hold the rate at or below safety / $\lambda_{max}$, the largest curvature over the batch; gradient
            descent is stable below 2. None keeps the rate whatever the curvature (as published).
        every: measure the curvature at every so many updates (default 200).
        optimiser: the weight rule; it sees the batch mean.

    Cost: T gradients of the energy through the network and one local gradient a batch.

    Source: Goemaere et al. (2025), error-based predictive coding.
    """

    rate: float = 0.001
    steps: int = 5
    momentum: float = 0.0
    safety: float | None = 1.0
    every: int = 200
    optimiser: optax.GradientTransformation = optax.adam(1e-3)

    label: ClassVar[str] = "ePC"
    reference: ClassVar[str] = "Goemaere et al., arXiv 2505.20137 (2025)"
    cost: ClassVar[str] = "T gradients through the network and one energy gradient"
    needs: ClassVar[Needs] = Needs(weight_transport=True, backward_pass=True, phases=2)

    def __check_init__(self) -> None:
        Gradient(self.rate, self.momentum)  # the solver checks its own options
        at_least("steps", self.steps, 1)
        at_least("every", self.every, 1)
        if self.safety is not None:
            positive("safety", self.safety)

    def init(self, network: Network, *, key: PRNGKeyArray) -> TrainState:
        state = super().init(network, key=key)
        return eqx.tree_at(lambda s: s.memory, state, jnp.asarray(self.rate, float), is_leaf=lambda leaf: leaf is None)

    def check(self, network: Network) -> None:
        del network

    def updates_per_batch(self) -> int:
        return 1

    def passes(self, network: Network) -> int:
        del network
        return 2 * self.steps + 2

    def bounded(self, network: Network, batch: Clamps, *, key: PRNGKeyArray) -> Float[Array, ""]:
        """Return the rate, held below the curvature of the batch."""
        if self.safety is None:
            return jnp.asarray(self.rate, float)
        curvature = jnp.max(largest_curvature(network, batch, coordinates=ErrorCoordinates(), key=key))
        return jnp.minimum(self.rate, self.safety / curvature)

    def signal(
        self, network: Network, batch: Clamps, *, epoch: Int[Array, ""] | int, key: PRNGKeyArray, record: bool = False
    ) -> Signal:
        del epoch
        key_rate, key = jax.random.split(key)
        return self._signal(network, batch, self.bounded(network, batch, key=key_rate), record, key)

    def step(self, state: TrainState, batch: Clamps, *, key: PRNGKeyArray) -> tuple[TrainState, Info]:
        key_rate, key = jax.random.split(key)
        rate = state.memory
        if self.safety is not None:
            rate = jax.lax.cond(
                state.updates % self.every == 0,
                lambda: self.bounded(state.network, batch, key=key_rate),
                lambda: state.memory,
            )
        signal = self._signal(state.network, batch, rate, False, key)
        outputs = None if state.network.output is None else self.predict(state.network, batch)
        info = Info(signal.energies, outputs, diverged_fraction(signal))
        state = apply_gradient(state, self.optimiser, signal.gradient)
        return eqx.tree_at(lambda s: s.memory, state, rate), info

    def _signal(
        self, network: Network, batch: Clamps, rate: Float[Array, ""], record: bool, key: PRNGKeyArray
    ) -> Signal:
        relaxation = relax(
            network,
            batch,
            solver=Gradient(rate, self.momentum),
            steps=self.steps,
            coordinates=ErrorCoordinates(),
            record=record,
            key=key,
        )
        gradient, energies = settled_gradient(network, relaxation)
        share = jnp.minimum(1.0, rate * self.steps)
        return Signal(jax.tree.map(lambda leaf: leaf / share, gradient), energies, relaxation)
