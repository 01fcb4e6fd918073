"""Predictive coding: relax the states, then learn from where they arrived."""

from typing import Any, ClassVar

import equinox as eqx
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..core.checks import at_least
from ..core.clamp import Clamps
from ..core.coordinates import AbstractCoordinates, StateCoordinates
from ..core.initialise import AbstractInitialiser, Forward
from ..core.network import Network
from ..inference.gradient import Gradient
from ..inference.relax import relax
from ..inference.solver import AbstractSolver
from ..learning.energy_gradient import settled_gradient
from ..learning.forward_update import forward_gradient, untold
from .contract import (
    AbstractAlgorithm,
    Info,
    Needs,
    Signal,
    TrainState,
    learn_once,
    relaxed_class_energies,
    relaxed_outputs,
    steps_on,
)


class PC(AbstractAlgorithm):
    r"""Predictive coding: T relaxation steps with input and target clamped, then one weight update.

    $x \leftarrow x - \eta\,\partial E/\partial x$ (T times), then
    $W \leftarrow W - \alpha\,\overline{\partial E/\partial W}$ at the
    states after the last step, with the batch mean over samples.

    Arguments:
        solver: how states move (default: gradient descent with rate 0.05 per sample).
        steps: T. After a forward start an error needs one step per node, so T must be at least the number of hidden
            nodes for the first layer to learn (default 8, enough for the benchmark's networks). None takes as many
            steps as there are terms.
        initial: where states start (default: a forward pass).
        coordinates: states, or prediction errors.
        optimiser: the weight rule; it sees the batch mean.
        forward_update: learn from the sources as they start when the target is not known, instead of the relaxed ones
            (default false). Where there are cycles, relaxed sources hold the label, and couplings that carry it back
            explain the errors away. The initialiser must draw no noise.

    Raises:
        ValueError: if `forward_update` meets an initialiser that draws noise, or a batch of outputs alone.

    Cost: T + 1 gradients of the energy a batch; the forward update starts the states twice.

    Source: Whittington & Bogacz (2017); protocol of Pinchetti et al. (2025), PC-SE and PC-CE; forward update of Qi et
    al. (2025).
    """

    solver: AbstractSolver = Gradient()
    steps: int | None = 8
    initial: AbstractInitialiser = Forward()
    coordinates: AbstractCoordinates = StateCoordinates()
    optimiser: optax.GradientTransformation = optax.adam(1e-3)
    forward_update: bool = False

    label: ClassVar[str] = "PC"
    reference: ClassVar[str] = "Whittington & Bogacz, Neural Computation 29 (2017); Pinchetti et al., ICLR (2025)"
    cost: ClassVar[str] = "T + 1 energy gradients"
    needs: ClassVar[Needs] = Needs(symmetric_weights=True, phases=2)

    def __check_init__(self) -> None:
        if self.steps is not None:
            at_least("steps", self.steps, 0)
        if self.forward_update and self.initial.stochastic:
            raise ValueError("forward_update needs states that start without noise: use Forward, Sweeps or Zero.")

    def check(self, network: Network) -> None:
        del network

    def updates_per_batch(self) -> int:
        return 1

    def passes(self, network: Network) -> int:
        return steps_on(network, self.steps) * self.solver.passes + 2

    def signal(
        self, network: Network, batch: Clamps, *, epoch: Int[Array, ""] | int, key: PRNGKeyArray, record: bool = False
    ) -> Signal:
        del epoch
        given = untold(network, batch) if self.forward_update else batch
        relaxation = relax(
            network,
            batch,
            solver=self.solver,
            steps=steps_on(network, self.steps),
            initial=self.initial,
            coordinates=self.coordinates,
            record=record,
            key=key,
        )
        if not self.forward_update:
            return Signal(*settled_gradient(network, relaxation), relaxation)
        before = eqx.filter_vmap(lambda sample: self.initial(network, sample, key=key))(given)
        return Signal(*forward_gradient(network, relaxation.states, before), relaxation)

    def predict(self, network: Network, batch: Clamps) -> Float[Array, "batch *output"]:
        return relaxed_outputs(network, batch, **self._answering(network))

    def class_energies(self, network: Network, inputs: Float[Array, "batch *input"]) -> Float[Array, "batch classes"]:
        return relaxed_class_energies(network, inputs, **self._answering(network))

    def _answering(self, network: Network) -> dict[str, Any]:
        """Return how states relax to an answer where cycles leave no forward pass."""
        return {"solver": self.solver, "steps": steps_on(network, self.steps), "initial": self.initial}

    def step(self, state: TrainState, batch: Clamps, *, key: PRNGKeyArray) -> tuple[TrainState, Info]:
        return learn_once(self, state, batch, key=key)
