"""Predictive coding at its equilibrium, which Gauss-Newton steps in output space reach at any depth."""

from typing import ClassVar

import optax
from jaxtyping import Array, Int, PRNGKeyArray

from ..core.checks import at_least
from ..core.clamp import Clamps
from ..core.coordinates import ErrorCoordinates
from ..core.network import Network
from ..inference.gauss_newton import GaussNewton
from ..inference.relax import relax
from ..learning.energy_gradient import settled_gradient
from .contract import AbstractAlgorithm, Info, Signal, TrainState, learn_once


class GN(AbstractAlgorithm):
    r"""Predictive coding at equilibrium: Gauss-Newton inference on the errors, then one weight update.

    The weight gradient is that of PC whose relaxation has come to rest. With hidden precision $\gamma$ it is, to first
    order, backpropagation's with the output residual r replaced by $S^{-1}r$, $S = I + JJ^\top/\gamma$.

    Arguments:
        solver: the Gauss-Newton solver; how many conjugate-gradient iterations, and whether steps are guarded.
        steps: Gauss-Newton steps a batch (default 2; one is enough where the hidden precision is large).
        optimiser: the weight rule; it sees the batch mean.

    Cost: with k iterations, 2 (k + 1) passes a step, and one gradient of the energy.

    Source: this project; the equilibrium is that of Whittington & Bogacz (2017).
    """

    solver: GaussNewton = GaussNewton()
    steps: int = 2
    optimiser: optax.GradientTransformation = optax.adam(1e-3)

    label: ClassVar[str] = "PC-GN"
    reference: ClassVar[str] = "Whittington & Bogacz, Neural Computation 29 (2017) for the equilibrium"
    cost: ClassVar[str] = "2 (k + 1) passes a step with k iterations, and one energy gradient"

    def __check_init__(self) -> None:
        at_least("steps", self.steps, 1)

    def check(self, network: Network) -> None:
        del network

    def updates_per_batch(self) -> int:
        return 1

    def signal(
        self, network: Network, batch: Clamps, *, epoch: Int[Array, ""] | int, key: PRNGKeyArray, record: bool = False
    ) -> Signal:
        del epoch
        relaxation = relax(
            network,
            batch,
            solver=self.solver,
            steps=self.steps,
            coordinates=ErrorCoordinates(),
            record=record,
            key=key,
        )
        gradient, energies = settled_gradient(network, relaxation)
        return Signal(gradient, energies, relaxation)

    def step(self, state: TrainState, batch: Clamps, *, key: PRNGKeyArray) -> tuple[TrainState, Info]:
        return learn_once(self, state, batch, key=key)
