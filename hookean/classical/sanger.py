"""Sanger's rule: linear units learn the principal components in order."""

from typing import final

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..core.checks import at_least, positive
from .oja import random_weights
from .rule import AbstractRule


@final
class Sanger(AbstractRule):
    r"""Linear units $y = Wx$ that learn by $\Delta W = \eta\,(y x^\top - \mathrm{LT}(y y^\top)\,W)$.

    LT keeps the lower triangle with the diagonal: unit i sees what the units before it have left over, so that it ends
    at the i-th principal component of samples with mean zero, up to sign.

    Arguments:
        units: number of units (default 16).
        rate: $\eta$ (default 0.01); stable where $\eta$ times the covariance's largest eigenvalue is below 0.1.

    Cost: 3 products of the size of W a sample.

    Source: Sanger, Neural Networks 2 (1989), the generalised Hebbian algorithm.
    """

    units: int = 16
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
        change = (y.T @ batch - jnp.tril(y.T @ y) @ learned) / len(batch)
        return learned + factor * self.rate * change

    def filters(self, learned: Float[Array, "units inputs"]) -> Float[Array, "units inputs"]:
        return learned
