r"""Continuous relaxation $\tau_i\,\dot x_i = -\partial E/\partial x_i$, integrated by Diffrax."""

from collections.abc import Mapping
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ..core.checks import known, positive
from .objective import Objective, Variables
from .solver import AbstractSolver

#: Diffrax methods by the name used at the command line.
METHODS = {
    "euler": diffrax.Euler,
    "heun": diffrax.Heun,
    "tsit5": diffrax.Tsit5,
    "dopri5": diffrax.Dopri5,
    "implicit_euler": diffrax.ImplicitEuler,
    "kvaerno3": diffrax.Kvaerno3,
    "kvaerno5": diffrax.Kvaerno5,
}


#: How exactly implicit methods solve their equations where the step is fixed: below the error of their steps.
ROOT_TOLERANCE = 1e-5


class FlowState(eqx.Module):
    """Where the integration stands: the interval of the next step and what Diffrax carries along."""

    start: Float[Array, ""]
    end: Float[Array, ""]
    method: Any
    controller: Any
    jumped: Bool[Array, ""]


class Flow(AbstractSolver):
    r"""Integrate the gradient flow for a given time.

    Arguments:
        duration: length of the relaxation in units of $\tau$ (default 10).
        dt: first step, and every step where `tolerance` is None, in units of $\tau$ (default 0.1).
        method: a Diffrax solver (default Heun); implicit ones serve stiff networks.
        tolerance: relative and absolute tolerance of an adaptive step; None keeps `dt`.
        tau: time constant by node (default 1 for every node).

    Cost: as many gradients a step as the method has stages (Euler 1, Heun 2), more for implicit methods.
    """

    duration: float = 10.0
    dt: float = 0.1
    method: diffrax.AbstractSolver = diffrax.Heun()
    tolerance: float | None = None
    tau: Mapping[str, float] | None = None
    rests = False  # the stages of one step carry an error over several nodes
    terminates = True
    stochastic = False

    @property
    def passes(self) -> int:
        """Two for every stage of the method; the iterations of an implicit one are not counted."""
        tableau = getattr(self.method, "tableau", None)
        return 2 * (1 if tableau is None else tableau.num_stages)

    def __check_init__(self) -> None:
        positive("duration", self.duration)
        positive("dt", self.dt)
        if self.tolerance is not None:
            positive("tolerance", self.tolerance)
        for name, value in (self.tau or {}).items():
            positive(f"tau of '{name}'", value)

    def init(self, objective: Objective, variables: Variables) -> FlowState:
        known("tau", self.tau or {}, objective.network.shapes)
        # Time is of the type of the states: of a wider one it would turn them into its own.
        kind = jnp.result_type(*variables.values(), 0.0)
        start, end = jnp.zeros((), kind), jnp.asarray(self.duration, kind)
        term = self._term(objective)
        first, controller = self._controller().init(
            term,
            start,
            end,
            variables,
            jnp.asarray(self.dt, kind),
            None,
            self._method().func,
            self._order(term),
        )
        first = jnp.minimum(first, end)
        method = self._method().init(term, start, first, variables, None)
        return FlowState(start, jnp.asarray(first), method, controller, jnp.array(False))

    def step(
        self,
        objective: Objective,
        variables: Variables,
        gradient: Variables,
        state: Any,
        *,
        key: PRNGKeyArray,
    ) -> tuple[Variables, FlowState]:
        del gradient, key
        term, order = self._term(objective), self._order(self._term(objective))
        proposal, error, _, method, _ = self._method().step(
            term, state.start, state.end, variables, None, state.method, state.jumped
        )
        keep, start, end, jumped, controller, _ = self._controller().adapt_step_size(
            state.start, state.end, variables, proposal, None, error, order, state.controller
        )
        moved, method = jax.tree.map(
            lambda new, old: jnp.where(keep, new, old), (proposal, method), (variables, state.method)
        )
        return moved, FlowState(
            jnp.asarray(start), jnp.minimum(end, self.duration), method, controller, jnp.asarray(jumped)
        )

    def terminate(self, state: Any) -> Bool[Array, ""]:
        # Time is a sum of float32 steps: it may end a rounding error before the duration.
        return state.start >= self.duration * (1 - 1e-6)

    def _controller(self) -> diffrax.AbstractStepSizeController:
        if self.tolerance is None:
            return diffrax.ConstantStepSize()
        return diffrax.PIDController(rtol=self.tolerance, atol=self.tolerance)

    def _method(self) -> diffrax.AbstractSolver:
        """Return the method; an implicit one solves its equations as exactly as the steps are meant to be."""
        if not isinstance(self.method, diffrax.AbstractImplicitSolver):
            return self.method
        finder = self.method.root_finder
        if isinstance(finder.rtol, float | int | Array):
            return self.method
        # Diffrax leaves the three open until its own driver takes them from the controller of the step.
        exact = ROOT_TOLERANCE if self.tolerance is None else self.tolerance
        wanted = (exact, exact, diffrax.PIDController(rtol=exact, atol=exact).norm)
        filled = eqx.tree_at(lambda f: (f.rtol, f.atol, f.norm), finder, wanted)
        return eqx.tree_at(lambda m: m.root_finder, self.method, filled)

    def _order(self, term: diffrax.ODETerm) -> Any:
        return self._method().error_order(term)

    def _term(self, objective: Objective) -> diffrax.ODETerm:
        def velocity(time: Any, variables: Variables, args: Any) -> Variables:
            del time, args
            tau = self.tau or {}
            return {name: -g / tau.get(name, 1.0) for name, g in objective.gradient(variables).items()}

        return diffrax.ODETerm(velocity)
