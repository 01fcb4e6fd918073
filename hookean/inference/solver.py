"""The contract of a state solver: `init`, `step`, `terminate`. The loop in `relax` drives every one of them."""

import abc
from typing import TYPE_CHECKING, Any

import equinox as eqx
from jaxtyping import Array, Bool, PRNGKeyArray

from .objective import Objective, Variables


class AbstractSolver(eqx.Module):
    """Moves the free variables of ONE sample downhill.

    Facts that the loop relies on:
        rests: a step reads the gradient only at the present point, and leaves a variable with zero gradient where it
            is. Only then may terms that no error has reached be left out.
        terminates: the solver can end by itself, so that the number of steps is not known beforehand.
        stochastic: the step needs a key.
        passes: signals that a step sends once through the whole network, the gradient that the loop evaluates included.
    """

    if TYPE_CHECKING:  # for a type checker an abstract variable would be an argument of the constructor

        @property
        def rests(self) -> bool: ...

        @property
        def stochastic(self) -> bool: ...
    else:
        rests: eqx.AbstractVar[bool]
        stochastic: eqx.AbstractVar[bool]
    terminates: eqx.AbstractClassVar[bool]

    @property
    def passes(self) -> int:
        return 2

    @abc.abstractmethod
    def init(self, objective: Objective, variables: Variables) -> Any:
        """Return the solver's state (momentum, time) before the first step of a batch."""

    @abc.abstractmethod
    def step(
        self,
        objective: Objective,
        variables: Variables,
        gradient: Variables,
        state: Any,
        *,
        key: PRNGKeyArray,
    ) -> tuple[Variables, Any]:
        """Return (variables, solver state) after one step.

        Arguments:
            gradient: the gradient at `variables`, which the loop has evaluated.
        """

    @abc.abstractmethod
    def terminate(self, state: Any) -> Bool[Array, ""]:
        """Say whether the solver has nothing left to do."""
