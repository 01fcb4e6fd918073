r"""Contrast of two nudged phases: $\frac{1}{2\beta}\big(g(+\beta) - g(-\beta)\big)$, free of the first-order bias."""

import jax
from jaxtyping import Array, Float, PyTree


def centred(plus: PyTree, minus: PyTree, beta: Float[Array, ""] | float) -> PyTree:
    r"""Return the centred estimate from the weight gradients of a phase nudged by $+\beta$ and one by $-\beta$.

    Its deviation from backpropagation's gradient is of order $\beta^2$, that of one phase of order $\beta$.

    Source: Laborieux et al. (2021), eq. 9, for equilibrium propagation.
    """
    return jax.tree.map(lambda p, m: (p - m) / (2 * beta), plus, minus)
