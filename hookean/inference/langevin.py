r"""Langevin dynamics: noisy gradient steps that sample $\exp(-E/T)$ in the place of settling at its maximum."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, PRNGKeyArray

from ..core.checks import positive
from .objective import Objective, Variables
from .solver import AbstractSolver


class Langevin(AbstractSolver):
    r"""Langevin dynamics: a chain whose states are samples of $p(x) \propto \exp(-E(x)/T)$ over the free nodes.

    $v \leftarrow \mu v + \partial E/\partial x + \sqrt{2T(1-\mu)/\gamma}\;\xi$, $x \leftarrow x - \gamma v$, with
    $\xi \sim N(0, I)$. With $\mu = 0$ this is the overdamped form
    $x \leftarrow x - \gamma\,\partial E/\partial x + N(0, 2\gamma T)$; with $\mu > 0$ it is a discretisation of the
    underdamped one, whose states move $1/(1-\mu)$ times as fast. The factor $1-\mu$ keeps the temperature.

    A finite rate changes what is sampled. On a quadratic energy with curvature k the variance is
    $\frac{T}{k}\,\big(1 - \frac{\gamma k}{2(1+\mu)}\big)^{-1}$ where $T/k$ is right: too wide by $\gamma k/2$ without
    momentum and half of that with much. The chain is unstable where $\gamma k \ge 2(1+\mu)$.

    Arguments:
        rate: $\gamma$ per sample (default 0.01).
        momentum: $\mu$ in [0, 1) (default 0: overdamped; the published runs on images take 0.9).
        temperature: T (default 1: the posterior of the model; the published code calls it the variance of the noise).

    Cost: one gradient of the energy and one draw of noise a step.

    Source: Oliviers et al. (2024) for unit temperature; the form with momentum follows Pinchetti et al. (2025).
    """

    rate: float | Array = 0.01
    momentum: float = 0.0
    temperature: float = 1.0
    rests = False  # noise moves a variable without gradient
    terminates = False
    stochastic = True

    def __check_init__(self) -> None:
        positive("rate", self.rate)
        positive("temperature", self.temperature)
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must be in [0, 1), got {self.momentum}.")

    def init(self, objective: Objective, variables: Variables) -> Any:
        del objective
        return {name: jnp.zeros_like(value) for name, value in variables.items()} if self.momentum else None

    def step(
        self,
        objective: Objective,
        variables: Variables,
        gradient: Variables,
        state: Any,
        *,
        key: PRNGKeyArray,
    ) -> tuple[Variables, Any]:
        del objective
        size = jnp.sqrt(2 * self.temperature * (1 - self.momentum) / self.rate)
        # One draw for all nodes: a call of the generator for every node costs more than the numbers.
        flat, rebuild = ravel_pytree(variables)
        noise = rebuild(jax.random.normal(key, flat.shape, flat.dtype))
        speed = {name: slope + size * noise[name] for name, slope in gradient.items()}
        if self.momentum:
            speed = {name: self.momentum * state[name] + force for name, force in speed.items()}
        moved = {name: value - self.rate * speed[name] for name, value in variables.items()}
        return moved, speed if self.momentum else None

    def terminate(self, state: Any) -> Bool[Array, ""]:
        del state
        return jnp.array(False)
