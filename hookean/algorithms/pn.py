"""Positive nudging of a predictive coding network."""

from typing import ClassVar

import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..core.checks import at_least
from ..core.clamp import Clamps
from ..core.network import Network
from ..inference.gradient import Gradient
from ..inference.solver import AbstractSolver
from .contract import AbstractAlgorithm, Info, Needs, Signal, TrainState, learn_once, require_output
from .nudging import Nudge, nudged_signal


class PN(AbstractAlgorithm):
    r"""Positive nudging: the output is drawn a part of the way towards the label.

    The output node is held at $u_0 + \beta (y - u_0)$ with $\beta =$ $+\beta_e$; weights follow
    $\frac1\beta\,\partial E/\partial W$.
    $\beta_e \ge 1$ is ordinary predictive coding with the target clamped.

    Arguments:
        nudge: strength and ramp of $\beta$.
        solver: how states move.
        steps: T.
        optimiser: the weight rule; it sees the batch mean divided by $\beta$.

    Cost: T + 1 gradients of the energy and one forward pass a batch.

    Source: Pinchetti et al. (2025), PC-PN; Scellier et al. (2023) for equilibrium propagation.
    """

    nudge: Nudge = Nudge()
    solver: AbstractSolver = Gradient()
    steps: int = 8
    optimiser: optax.GradientTransformation = optax.adam(1e-3)

    label: ClassVar[str] = "PN"
    reference: ClassVar[str] = "Pinchetti et al., ICLR (2025); Scellier et al., NeurIPS (2023)"
    cost: ClassVar[str] = "T + 1 energy gradients"
    needs: ClassVar[Needs] = Needs(symmetric_weights=True, phases=2)

    def __check_init__(self) -> None:
        at_least("steps", self.steps, 0)

    def check(self, network: Network) -> None:
        require_output(network)

    def updates_per_batch(self) -> int:
        return 1

    def passes(self, network: Network) -> int:
        del network
        return self.steps * self.solver.passes + 2

    def beta(self, epoch: Int[Array, ""] | int) -> Float[Array, ""]:
        r"""Return the signed $\beta$ of an epoch."""
        return self.nudge.strength(epoch)

    def signal(
        self, network: Network, batch: Clamps, *, epoch: Int[Array, ""] | int, key: PRNGKeyArray, record: bool = False
    ) -> Signal:
        return nudged_signal(
            network, batch, beta=self.beta(epoch), solver=self.solver, steps=self.steps, record=record, key=key
        )

    def step(self, state: TrainState, batch: Clamps, *, key: PRNGKeyArray) -> tuple[TrainState, Info]:
        return learn_once(self, state, batch, key=key)
