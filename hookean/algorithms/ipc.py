"""Incremental predictive coding: states and weights move together at every step."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..core.checks import at_least
from ..core.clamp import Clamps
from ..core.initialise import AbstractInitialiser, Forward
from ..core.network import Network
from ..inference.gradient import Gradient
from ..inference.relax import relax
from ..inference.solver import AbstractSolver
from ..inference.stepwise import Stepwise
from ..learning.energy_gradient import energy_gradient, settled_gradient
from .contract import (
    AbstractAlgorithm,
    Info,
    Needs,
    Signal,
    TrainState,
    apply_gradient,
    relaxed_class_energies,
    relaxed_outputs,
)


class IPC(AbstractAlgorithm):
    r"""Incremental predictive coding: at every one of T steps states and weights move together.

    $(x, W) \leftarrow (x - \eta\,\partial E/\partial x,\; W - \alpha\,\overline{\partial E/\partial W})$, both
    taken at the same point.

    Arguments:
        solver: how states move.
        steps: T (default 8).
        weights_from: first step, counted from 0, at which weights move too (default 0: all steps). With T - 1 only
            the last step learns, from the states before it moves them; values between are the hybrid schedules.
        initial: where states start.
        optimiser: the weight rule; it is applied at every learning step, so a rate schedule runs over batches times
            learning steps.

    Cost: T gradients of the energy in states and weights a batch.

    Source: Salvatori et al., ICLR (2024); protocol of Pinchetti et al. (2025).
    """

    solver: AbstractSolver = Gradient()
    steps: int = 8
    weights_from: int = 0
    initial: AbstractInitialiser = Forward()
    optimiser: optax.GradientTransformation = optax.adam(1e-3)

    label: ClassVar[str] = "iPC"
    reference: ClassVar[str] = "Salvatori et al., ICLR (2024); Pinchetti et al., ICLR (2025)"
    cost: ClassVar[str] = "T energy gradients in states and weights"
    needs: ClassVar[Needs] = Needs(symmetric_weights=True)

    def __check_init__(self) -> None:
        at_least("steps", self.steps, 1)
        if not 0 <= self.weights_from < self.steps:
            raise ValueError(f"weights_from must be from 0 to steps - 1 = {self.steps - 1}, got {self.weights_from}.")
        if self.solver.terminates:
            raise ValueError("solver must take a fixed number of steps: weights move between them. Use Gradient().")

    def check(self, network: Network) -> None:
        del network

    def updates_per_batch(self) -> int:
        return self.steps - self.weights_from

    def passes(self, network: Network) -> int:
        del network
        return self.steps * self.solver.passes

    def signal(
        self, network: Network, batch: Clamps, *, epoch: Int[Array, ""] | int, key: PRNGKeyArray, record: bool = False
    ) -> Signal:
        """Return the gradient at the end of the relaxation, with the weights as they are at its start."""
        del epoch
        relaxation = relax(
            network, batch, solver=self.solver, steps=self.steps - 1, initial=self.initial, record=record, key=key
        )
        gradient, energies = settled_gradient(network, relaxation)
        return Signal(gradient, energies, relaxation)

    def predict(self, network: Network, batch: Clamps) -> Float[Array, "batch *output"]:
        return relaxed_outputs(network, batch, **self._answering())

    def class_energies(self, network: Network, inputs: Float[Array, "batch *input"]) -> Float[Array, "batch classes"]:
        return relaxed_class_energies(network, inputs, **self._answering())

    def _answering(self) -> dict[str, Any]:
        """Return how states relax to an answer where cycles leave no forward pass."""
        return {"solver": self.solver, "steps": self.steps, "initial": self.initial}

    def step(self, state: TrainState, batch: Clamps, *, key: PRNGKeyArray) -> tuple[TrainState, Info]:
        outputs = None if state.network.output is None else self.predict(state.network, batch)
        stepwise = Stepwise(self.solver, self.initial)
        states, memory = stepwise.init(state.network, batch, key=key)
        energies: dict[str, Array] = {}
        for t in range(self.steps):
            # Both gradients belong to the same point: take them before either moves.
            moved, memory = stepwise.step(state.network, batch, states, memory, jax.random.fold_in(key, t))
            if t >= self.weights_from:
                gradient, energies = energy_gradient(state.network, states)
                state = apply_gradient(state, self.optimiser, gradient)
            states = moved
        finite = jnp.stack([jnp.all(jnp.isfinite(s), axis=range(1, s.ndim)) for s in states.values()])
        # Not one minus the mean of the finite ones: with a batch of 200 rounding leaves 6e-8, which is no zero.
        return state, Info(energies, outputs, jnp.mean(~jnp.all(finite, axis=0)))
