r"""Newton's method on the states, for every network: cycles, couplings and free latents included."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PRNGKeyArray

from ..core.checks import at_least
from .line_search import shortened
from .objective import Objective, Variables, add, dot
from .solver import AbstractSolver


class Newton(AbstractSolver):
    r"""Truncated Newton steps: $H p = -g$ by conjugate gradients, then halved until the energy does not rise.

    H is the Hessian of the energy of one sample in all its free variables; it is only multiplied with vectors. Where a
    direction of negative curvature turns up, the step found so far is taken, or $-g$ if it is the first direction. On
    a quadratic energy with n free variables one step of n iterations lands on the minimum.

    Arguments:
        iterations: most conjugate-gradient iterations of a step (default 8).
        halvings: most times that a step is halved; one that still raises the energy is not taken (default 20).

    Cost: 2 (iterations + 1) passes a step, the gradient included, and one forward pass for each look at the energy.

    Source: Nocedal & Wright (2006), algorithm 7.1 (line-search Newton-CG).
    """

    iterations: int = 8
    halvings: int = 20
    rests = False  # a step moves variables whose own gradient is zero
    terminates = False
    stochastic = False

    def __check_init__(self) -> None:
        at_least("iterations", self.iterations, 1)
        at_least("halvings", self.halvings, 0)

    @property
    def passes(self) -> int:
        """Two for the gradient and for each iteration, one for each of the two looks that a step has at the least."""
        return 2 * (self.iterations + 1) + 2

    def init(self, objective: Objective, variables: Variables) -> Any:
        del objective, variables
        return ()

    def step(
        self,
        objective: Objective,
        variables: Variables,
        gradient: Variables,
        state: Any,
        *,
        key: PRNGKeyArray,
    ) -> tuple[Variables, Any]:
        del key
        move = self._direction(objective, variables, gradient)
        move = shortened(objective, variables, move, self.halvings)
        return add(variables, 1.0, move), state

    def terminate(self, state: Any) -> Bool[Array, ""]:
        del state
        return jnp.array(False)

    def _direction(self, objective: Objective, variables: Variables, gradient: Variables) -> Variables:
        hessian = jax.linearize(objective.gradient, variables)[1]
        downhill = {name: -value for name, value in gradient.items()}
        nothing = {name: jnp.zeros_like(value) for name, value in gradient.items()}

        def turn(carry: tuple, index: Array) -> tuple[tuple, None]:
            move, residual, direction, ended = carry
            ahead = hessian(direction)
            size, curvature = dot(residual, residual), dot(direction, ahead)
            curved = curvature > 0
            goes = ~ended & curved & (size > 0)
            length = jnp.where(goes, size / jnp.where(goes, curvature, 1), 0)
            move = add(move, length, direction)
            move = add(move, jnp.where((index == 0) & ~curved, 1.0, 0.0), downhill)
            left = add(residual, -length, ahead)
            smaller = jnp.where(goes, dot(left, left) / jnp.where(goes, size, 1), 0)
            return (move, left, add(left, smaller, direction), ~goes), None

        start = (nothing, downhill, downhill, jnp.array(False))
        return jax.lax.scan(turn, start, jnp.arange(self.iterations))[0][0]
