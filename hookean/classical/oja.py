"""Oja's rule: one unit learns the first principal component, several learn the space of the first ones."""

from typing import final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..core.checks import at_least, positive
from .rule import AbstractRule


@final
class Oja(AbstractRule):
    r"""Linear units $y = Wx$ that learn by $\Delta W = \eta\,(y x^\top - y y^\top W)$.

    The Hebbian product grows the weights, the second part keeps them of length one. A single unit ends at the first
    principal component of samples with mean zero; several end at an orthonormal basis of the space of as many
    components, but at no particular one.

    Arguments:
        units: number of units (default 1).
        rate: $\eta$ (default 0.01); stable where $\eta$ times the covariance's largest eigenvalue is below 0.1.

    Cost: 3 products of the size of W a sample.

    Source: Oja, Journal of Mathematical Biology 15 (1982); Oja, International Journal of Neural Systems 1 (1989).
    """

    units: int = 1
    rate: float = 0.01

    def __check_init__(self) -> None:
        at_least("units", self.units, 1)
        positive("rate", self.rate)

    def init(self, inputs: int, *, key: PRNGKeyArray) -> Float[Array, "units inputs"]:
        return random_weights(self.units, inputs, key=key)

    def respond(self, learned: Float[Array, "units inputs"], sample: Float[Array, "inputs"]) -> Float[Array, "units"]:
        return learned @ sample

    def learn(
        self,
        learned: Float[Array, "units inputs"],
        batch: Float[Array, "batch inputs"],
        *,
        factor: float | Array = 1.0,
    ) -> Float[Array, "units inputs"]:
        y = batch @ learned.T
        change = (y.T @ batch - (y.T @ y) @ learned) / len(batch)
        return learned + factor * self.rate * change

    def filters(self, learned: Float[Array, "units inputs"]) -> Float[Array, "units inputs"]:
        return learned


def random_weights(units: int, inputs: int, *, key: PRNGKeyArray) -> Float[Array, "units inputs"]:
    """Return Gaussian weights whose rows have a length of about one."""
    return jax.random.normal(key, (units, inputs)) / jnp.sqrt(inputs)
