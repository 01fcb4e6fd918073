r"""Gradient solvers: $x \leftarrow x - \eta\,\partial E/\partial x$ and every Optax rule in its place."""

from typing import Any

import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, PRNGKeyArray

from ..core.checks import positive
from .objective import Objective, Variables
from .solver import AbstractSolver


class Gradient(AbstractSolver):
    r"""Gradient descent with momentum: $v \leftarrow \mu v + \partial E/\partial x$, $x \leftarrow x - \eta v$.

    Arguments:
        rate: $\eta$ per sample (default 0.05: stable for the benchmark's networks). A batch does not change it.
        momentum: $\mu$ in [0, 1) (default 0).
        nesterov: look ahead along the momentum (default false).

    Cost: one gradient of the energy a step.
    """

    rate: float | Array = 0.05
    momentum: float = 0.0
    nesterov: bool = False
    rests = True
    terminates = False
    stochastic = False

    def __check_init__(self) -> None:
        positive("rate", self.rate)
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must be in [0, 1), got {self.momentum}.")

    def init(self, objective: Objective, variables: Variables) -> Any:
        del objective
        return self._rule().init(variables)

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
        updates, state = self._rule().update(gradient, state, variables)
        return optax.apply_updates(variables, updates), state

    def terminate(self, state: Any) -> Bool[Array, ""]:
        del state
        return jnp.array(False)

    def _rule(self) -> optax.GradientTransformation:
        return optax.sgd(self.rate, self.momentum or None, self.nesterov)


class Optax(AbstractSolver):
    """Any Optax rule as the state optimiser, with its own state for every sample, renewed for every batch.

    Arguments:
        rule: the rule; its rate is per sample. It sees the free nodes by name, as in
            `optax.multi_transform(rules, {"h1": "slow", "h2": "fast"})`.

    Cost: one gradient of the energy a step.
    """

    rule: optax.GradientTransformation
    rests: bool
    terminates = False
    stochastic = False

    def __init__(self, rule: optax.GradientTransformation):
        self.rule = rule
        self.rests = _leaves_rest(rule)

    def init(self, objective: Objective, variables: Variables) -> Any:
        del objective
        return self.rule.init(variables)

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
        updates, state = self.rule.update(gradient, state, variables)
        return optax.apply_updates(variables, updates), state

    def terminate(self, state: Any) -> Bool[Array, ""]:
        del state
        return jnp.array(False)


def _leaves_rest(rule: optax.GradientTransformation, trials: int = 4) -> bool:
    """Try out whether the rule leaves a variable alone while its gradient is zero (weight decay and noise do not).

    A rule that cannot be tried, such as one that names its nodes, is taken for one that does not: nothing is left out.
    """
    variable = jnp.ones(3)
    try:
        state = rule.init(variable)
        for _ in range(trials):
            update, state = rule.update(jnp.zeros(3), state, variable)
            if bool(jnp.any(update != 0)):
                return False
    except Exception:  # what a rule raises for a tree that is not its own is up to the rule
        return False
    return True
