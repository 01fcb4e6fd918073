"""Centred nudging of a predictive coding network."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..core.checks import at_least
from ..core.clamp import Clamps
from ..core.network import Network
from ..inference.gradient import Gradient
from ..inference.solver import AbstractSolver
from ..learning.contrast import centred
from .contract import AbstractAlgorithm, Info, Needs, Signal, TrainState, learn_once, require_output
from .nudging import Nudge, nudged_signal


class CN(AbstractAlgorithm):
    r"""Centred nudging: positive and negative nudging in turn, so that their opposite biases cancel.

    The sign of $\beta$ is drawn once per epoch (as in the benchmark), or both signs are relaxed for every batch and
    contrasted, $\frac{1}{2\beta}(g(+\beta) - g(-\beta))$ with g the gradient of the energy.

    Arguments:
        nudge: strength and ramp of $\beta$.
        signs: signs of the first epochs, a string of '+' and '-'; later epochs draw theirs (default: all are drawn).
        paired: relax both signs for every batch; costs twice as much and needs no signs.
        seed: seed of the drawn signs, one sign per epoch.
        solver: how states move.
        steps: T.
        optimiser: the weight rule.

    Cost: T + 1 gradients of the energy and one forward pass a batch, twice that when paired.

    Source: Pinchetti et al. (2025), PC-CN; Scellier et al. (2023) for equilibrium propagation.
    """

    nudge: Nudge = Nudge()
    signs: str = ""
    paired: bool = False
    seed: int = 0
    solver: AbstractSolver = Gradient()
    steps: int = 8
    optimiser: optax.GradientTransformation = optax.adam(1e-3)

    label: ClassVar[str] = "CN"
    reference: ClassVar[str] = "Pinchetti et al., ICLR (2025); Scellier et al., NeurIPS (2023)"
    cost: ClassVar[str] = "T + 1 energy gradients, twice that when paired"
    needs: ClassVar[Needs] = Needs(symmetric_weights=True, phases=3)

    def __check_init__(self) -> None:
        at_least("steps", self.steps, 0)
        if set(self.signs) - {"+", "-"}:
            raise ValueError(f"signs must be a string of '+' and '-', got '{self.signs}'.")

    def check(self, network: Network) -> None:
        require_output(network)

    def updates_per_batch(self) -> int:
        return 1

    def passes(self, network: Network) -> int:
        del network
        return (2 if self.paired else 1) * (self.steps * self.solver.passes + 2)

    def sign(self, epoch: Int[Array, ""] | int) -> Float[Array, ""]:
        """Return the sign of an epoch: +1 or -1, the same for the same seed."""
        drawn = jax.random.rademacher(jax.random.fold_in(jax.random.key(self.seed), epoch), (), float)
        if not self.signs:
            return drawn
        given = jnp.array([1.0 if sign == "+" else -1.0 for sign in self.signs])
        return jnp.where(epoch < len(self.signs), given[jnp.minimum(epoch, len(self.signs) - 1)], drawn)

    def signal(
        self, network: Network, batch: Clamps, *, epoch: Int[Array, ""] | int, key: PRNGKeyArray, record: bool = False
    ) -> Signal:
        strength = self.nudge.strength(epoch)
        if not self.paired:
            return self._nudged(network, batch, self.sign(epoch) * strength, key, record)
        plus = self._nudged(network, batch, strength, key, record)
        minus = self._nudged(network, batch, -strength, key, record)
        # Each phase comes divided by its beta; the contrast takes the gradients themselves.
        rising, falling = (
            jax.tree.map(lambda g, b=b: b * g, s.gradient) for b, s in ((strength, plus), (-strength, minus))
        )
        return Signal(centred(rising, falling, strength), plus.energies, plus.relaxation)

    def step(self, state: TrainState, batch: Clamps, *, key: PRNGKeyArray) -> tuple[TrainState, Info]:
        return learn_once(self, state, batch, key=key)

    def _nudged(
        self, network: Network, batch: Clamps, beta: Float[Array, ""], key: PRNGKeyArray, record: bool
    ) -> Signal:
        return nudged_signal(network, batch, beta=beta, solver=self.solver, steps=self.steps, record=record, key=key)
