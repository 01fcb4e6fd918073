"""Predictive coding with precisions that change while the states relax."""

from typing import ClassVar, Literal

import equinox as eqx
import optax
from jaxtyping import Array, Int, PRNGKeyArray

from ..core.checks import at_least
from ..core.clamp import Clamps
from ..core.network import Network
from ..inference.gradient import Gradient
from ..inference.relax import relax
from ..inference.schedule import AbstractSchedule, Decaying, Spiking
from ..inference.solver import AbstractSolver
from ..learning.energy_gradient import settled_gradient
from ..learning.forward_update import forward_gradient
from .contract import AbstractAlgorithm, Info, Needs, Signal, TrainState, learn_once, steps_on


class ScheduledPC(AbstractAlgorithm):
    r"""Predictive coding with a precision schedule and, by default, the forward update.

    With the spiking schedule, $\alpha \to 0$ and the forward update, every layer's gradient has the direction of
    backpropagation's; k terms below the output it is scaled by $\eta^k(1 - \eta)$.

    Arguments:
        schedule: "spiking" (default) or "decaying".
        alpha: factor on a term after its step in the spiking schedule (default 0.001).
        forward_update: learn from the sources of the forward pass instead of the relaxed ones (default true).
        solver: how states move (default: gradient descent with rate 0.56 per sample); its rate must be below 1.
        steps: T; the error needs one step a node, so at least the number of terms on the way (default 8). None takes
            as many steps as there are terms.
        optimiser: the weight rule; it sees the batch mean.

    Raises:
        ValueError: if the schedule is not one of these.

    Cost: T + 1 gradients of the energy a batch.

    Source: Qi, Forasassi, Lukasiewicz & Salvatori (2025).
    """

    schedule: Literal["spiking", "decaying"] = "spiking"
    alpha: float = 0.001
    forward_update: bool = True
    solver: AbstractSolver = Gradient(0.56)
    steps: int | None = 8
    optimiser: optax.GradientTransformation = optax.adam(1e-3)

    label: ClassVar[str] = "PC-schedule"
    reference: ClassVar[str] = "Qi, Forasassi, Lukasiewicz & Salvatori (2025)"
    cost: ClassVar[str] = "T + 1 energy gradients"
    needs: ClassVar[Needs] = Needs(symmetric_weights=True, phases=2)

    def __check_init__(self) -> None:
        if self.steps is not None:
            at_least("steps", self.steps, 0)
        if self.schedule not in ("spiking", "decaying"):
            raise ValueError(f"schedule must be spiking or decaying, got '{self.schedule}'.")

    def check(self, network: Network) -> None:
        del network

    def updates_per_batch(self) -> int:
        return 1

    def passes(self, network: Network) -> int:
        return steps_on(network, self.steps) * self.solver.passes + 2

    def precision(self) -> AbstractSchedule:
        """Return the schedule."""
        return Spiking(self.alpha) if self.schedule == "spiking" else Decaying()

    def signal(
        self, network: Network, batch: Clamps, *, epoch: Int[Array, ""] | int, key: PRNGKeyArray, record: bool = False
    ) -> Signal:
        del epoch
        relaxation = relax(
            network,
            batch,
            solver=self.solver,
            steps=steps_on(network, self.steps),
            schedule=self.precision(),
            record=record,
            key=key,
        )
        if not self.forward_update:
            return Signal(*settled_gradient(network, relaxation), relaxation)
        forward = eqx.filter_vmap(network.forward)(dict(batch))
        return Signal(*forward_gradient(network, relaxation.states, forward), relaxation)

    def step(self, state: TrainState, batch: Clamps, *, key: PRNGKeyArray) -> tuple[TrainState, Info]:
        return learn_once(self, state, batch, key=key)
