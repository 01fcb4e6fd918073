r"""Projected gradient descent on the states: $x \leftarrow \mathrm{clip}(x - \eta\,\partial E/\partial x)$."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, PRNGKeyArray

from ..core.checks import positive
from .objective import Objective, Variables
from .solver import AbstractSolver


class Projected(AbstractSolver):
    r"""Gradient descent with states in a range: $x \leftarrow \mathrm{clip}(x - \eta\,\partial E/\partial x)$.

    Its fixed points are the minima of the energy under the bounds. A state at a bound whose gradient presses it
    outwards has come to rest, although its gradient is not zero.

    Arguments:
        rate: $\eta$ per sample (default 0.5).
        lower, upper: the range (default 0 to 1, the rates of a neuron that is silent and one that fires as it can).

    Cost: one gradient of the energy a step.
    """

    rate: float | Array = 0.5
    lower: float = 0.0
    upper: float = 1.0
    rests = False
    terminates = False
    stochastic = False

    def __check_init__(self) -> None:
        positive("rate", self.rate)
        if not self.lower < self.upper:
            raise ValueError(f"lower must be below upper, got {self.lower} and {self.upper}.")

    def init(self, objective: Objective, variables: Variables) -> Any:
        del objective, variables
        return None

    def step(
        self,
        objective: Objective,
        variables: Variables,
        gradient: Variables,
        state: Any,
        *,
        key: PRNGKeyArray,
    ) -> tuple[Variables, Any]:
        del objective, key
        moved = {n: jnp.clip(x - self.rate * gradient[n], self.lower, self.upper) for n, x in variables.items()}
        return moved, state

    def terminate(self, state: Any) -> Bool[Array, ""]:
        del state
        return jnp.array(False)
