"""Foldiak's sparse code: Hebbian feedforward, anti-Hebbian lateral connections, thresholds that keep a rate."""

from typing import NamedTuple, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..core.checks import at_least, positive
from .rule import AbstractRule


class Synapses(NamedTuple):
    """What a `Foldiak` layer has learned."""

    forward: Float[Array, "units inputs"]  # q
    lateral: Float[Array, "units units"]  # w, at or below zero, symmetric, zero diagonal
    threshold: Float[Array, "units"]  # t


@final
class Foldiak(AbstractRule):
    r"""Binary units that learn to be active seldom, equally often, and without correlation.

    The graded outputs settle where $y^*_i = f(\sum_j q_{ij}x_j + \sum_j w_{ij}y^*_j - t_i)$ with
    $f(u) = 1/(1 + e^{-\lambda u})$, by steps of $\dot y^* = f(\cdot) - y^*$; the output is $y = [y^* > \tfrac12]$. Then
    $\Delta w_{ij} = -\alpha\,(y_iy_j - p^2)$ with $w_{ii} = 0$ and $w_{ij} \le 0$,
    $\Delta q_{ij} = \beta\,y_i(x_j - q_{ij})$, $\Delta t_i = \gamma\,(y_i - p)$.

    Arguments:
        units: number of units (default 16).
        probability: p, how often a unit is to be active (default 1/8).
        lateral_rate, forward_rate, threshold_rate: $\alpha$, $\beta$, $\gamma$ (defaults 0.1, 0.02, 0.02).
        slope: $\lambda$ (default 10).
        steps: steps of size `step` to the settled outputs (default 50, of size 0.1).
        step: size of a step in time constants.

    Cost: one lateral product a step, one forward product a sample.

    Source: Foldiak, Biological Cybernetics 64 (1990), equations 1 to 5.
    """

    units: int = 16
    probability: float = 0.125
    lateral_rate: float = 0.1
    forward_rate: float = 0.02
    threshold_rate: float = 0.02
    slope: float = 10.0
    steps: int = 50
    step: float = 0.1

    def __check_init__(self) -> None:
        at_least("units", self.units, 1)
        at_least("steps", self.steps, 1)
        for name in ("lateral_rate", "forward_rate", "threshold_rate", "slope", "step"):
            positive(name, getattr(self, name))
        if not 0 < self.probability < 1:
            raise ValueError(f"probability must be between 0 and 1, got {self.probability}.")

    def init(self, inputs: int, *, key: PRNGKeyArray) -> Synapses:
        forward = jax.random.uniform(key, (self.units, inputs))
        forward = forward / jnp.linalg.norm(forward, axis=1, keepdims=True)
        return Synapses(forward, jnp.zeros((self.units, self.units)), jnp.ones(self.units))

    def respond(self, learned: Synapses, sample: Float[Array, "inputs"]) -> Float[Array, "units"]:
        drive = learned.forward @ sample - learned.threshold

        def advance(y: Array, _: None) -> tuple[Array, None]:
            return y + self.step * (jax.nn.sigmoid(self.slope * (drive + learned.lateral @ y)) - y), None

        settled, _ = jax.lax.scan(advance, jnp.zeros(self.units), None, length=self.steps)
        return (settled > 0.5).astype(settled.dtype)

    def learn(self, learned: Synapses, batch: Float[Array, "batch inputs"], *, factor: float | Array = 1.0) -> Synapses:
        y = jax.vmap(lambda sample: self.respond(learned, sample))(batch)
        rate = y.mean(axis=0)
        together = y.T @ y / len(batch) - self.probability**2
        lateral = jnp.minimum(learned.lateral - factor * self.lateral_rate * together, 0)
        seen = y.T @ batch / len(batch)
        return Synapses(
            learned.forward + factor * self.forward_rate * (seen - rate[:, None] * learned.forward),
            lateral * (1 - jnp.eye(self.units)),
            learned.threshold + factor * self.threshold_rate * (rate - self.probability),
        )

    def filters(self, learned: Synapses) -> Float[Array, "units inputs"]:
        return learned.forward
