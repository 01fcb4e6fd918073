"""Oja's rule: one unit learns the first principal component, several learn the space of the first ones."""

from typing import final

from jaxtyping import Array, Float

from .rule import AbstractComponents


@final
class Oja(AbstractComponents):
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

    def held(self, products: Float[Array, "units units"]) -> Float[Array, "units units"]:
        return products
