"""Temporal predictive coding: relax one step of a sequence after the other, learn from what was found on the way."""

from typing import ClassVar

import optax
from jaxtyping import Array, Int, PRNGKeyArray

from ..core.checks import at_least
from ..core.clamp import Clamps
from ..core.network import Network
from ..inference.gradient import Gradient
from ..inference.solver import AbstractSolver
from ..inference.tracking import track
from ..learning.energy_gradient import settled_gradient
from .contract import AbstractAlgorithm, Info, Needs, Signal, TrainState, learn_once


class TemporalPC(AbstractAlgorithm):
    r"""Temporal predictive coding: at each time relax the states of that time, with those of the past held.

    With $\varepsilon_{h,t} = h_t - \hat h_t(x_t, h_{t-1})$ and $\varepsilon_{y,t} = y_t - \hat y_t(h_t)$,
    $h_t \leftarrow h_t - \eta\,\partial (E_{h,t} + E_{y,t})/\partial h_t$ (T times, for one t after the other), then
    $W \leftarrow W - \alpha\,\overline{\sum_t \partial E_t/\partial W}$.

    Everything it needs is there at time t: it is local in time as well as in space, needs no storage of the past, and
    sends no error backwards. A target at the end of a sequence therefore teaches the last step alone. Where it must
    reach further, `PC` relaxes all steps together.

    Arguments:
        solver: how states move (default: gradient descent with rate 0.1 per sample, as published).
        steps: T at each time (default 10, as published).
        optimiser: the weight rule; it sees the batch mean of the sum over time.

    Cost: T + 1 gradients of the energy a batch. A network without recurrent nodes has one time, where this is `PC`.

    Source: Millidge et al. (2024); their f stands inside the weights, `elman(inside=True)`.
    """

    solver: AbstractSolver = Gradient(0.1)
    steps: int = 10
    optimiser: optax.GradientTransformation = optax.adam(1e-3)

    label: ClassVar[str] = "temporal PC"
    reference: ClassVar[str] = "Millidge, Tang, Osanlouy, Harper & Bogacz, PLoS Computational Biology 20 (2024)"
    cost: ClassVar[str] = "T + 1 energy gradients, one time after the other"
    needs: ClassVar[Needs] = Needs(symmetric_weights=True, phases=2)

    def __check_init__(self) -> None:
        at_least("steps", self.steps, 0)

    def check(self, network: Network) -> None:
        del network

    def updates_per_batch(self) -> int:
        return 1

    def passes(self, network: Network) -> int:
        del network
        return self.steps * self.solver.passes + 2

    def signal(
        self, network: Network, batch: Clamps, *, epoch: Int[Array, ""] | int, key: PRNGKeyArray, record: bool = False
    ) -> Signal:
        del epoch, record
        relaxation = track(network, batch, solver=self.solver, steps=self.steps, key=key)
        gradient, energies = settled_gradient(network, relaxation)
        return Signal(gradient, energies, relaxation)

    def step(self, state: TrainState, batch: Clamps, *, key: PRNGKeyArray) -> tuple[TrainState, Info]:
        return learn_once(self, state, batch, key=key)
