r"""Asynchronous relaxation: at every step a random part of the units moves, and the others stay."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PRNGKeyArray

from .gradient import Gradient
from .objective import Objective, Variables
from .solver import AbstractSolver


class Asynchronous(AbstractSolver):
    r"""$x_j \leftarrow m_j\,x_j^{\text{moved}} + (1 - m_j)\,x_j$ with $m_j$ drawn anew for every unit and step.

    No clock tells the units when to move; each moves with probability s, by what `solver` would have done. Memory of
    the solver (momentum) goes on for all of them.

    Arguments:
        solver: how a unit that moves does so (default: gradient descent).
        share: s, in (0, 1] (default 0.5). 1 is the solver itself.

    Cost: that of the solver.
    """

    solver: AbstractSolver = Gradient()
    share: float = 0.5
    terminates = False
    stochastic = True

    def __check_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"share must be in (0, 1], got {self.share}.")
        if self.solver.terminates:
            raise ValueError("solver must take a fixed number of steps. Use Gradient().")

    @property
    def rests(self) -> bool:
        return self.solver.rests

    @property
    def passes(self) -> int:
        return self.solver.passes

    def init(self, objective: Objective, variables: Variables) -> Any:
        return self.solver.init(objective, variables)

    def step(
        self,
        objective: Objective,
        variables: Variables,
        gradient: Variables,
        state: Any,
        *,
        key: PRNGKeyArray,
    ) -> tuple[Variables, Any]:
        if self.solver.stochastic:
            key, key_solver = jax.random.split(key)
        else:
            key_solver = key  # it draws nothing
        moved, state = self.solver.step(objective, variables, gradient, state, key=key_solver)
        # One draw for all nodes: every draw is a program of its own, and steps are written out.
        chosen = jax.random.bernoulli(key, self.share, (sum(old.size for old in variables.values()),))
        new, first = {}, 0
        for name, old in variables.items():
            here = chosen[first : first + old.size].reshape(old.shape)
            new[name] = jnp.where(here, moved[name], old)
            first += old.size
        return new, state

    def terminate(self, state: Any) -> Bool[Array, ""]:
        del state
        return jnp.array(False)
