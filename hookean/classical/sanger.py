"""Sanger's rule: linear units learn the principal components in order."""

from typing import final

import jax.numpy as jnp
from jaxtyping import Array, Float

from .rule import AbstractComponents


@final
class Sanger(AbstractComponents):
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

    def held(self, products: Float[Array, "units units"]) -> Float[Array, "units units"]:
        return jnp.tril(products)
