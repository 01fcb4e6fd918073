r"""Contrast of two nudged phases: $\frac{1}{2\beta}\big(g(+\beta) - g(-\beta)\big)$, free of the first-order bias."""

import jax
from jaxtyping import Array, Float, PyTree


def centred(plus: PyTree, minus: PyTree, beta: Float[Array, ""] | float) -> PyTree:
    r"""Return the centred estimate from the weight gradients of a phase nudged by $+\beta$ and one by $-\beta$.

    Its deviation from the limit $\beta \to 0$ is of order $\beta^2$, that of one phase of order $\beta$. The limit is
    backpropagation's where $\beta$ weighs a loss at a free output. Where the output is held at $u_0 + \beta (y - u_0)$,
    it is backpropagation's with the residual damped as at the equilibrium of predictive coding.

    Source: Laborieux et al. (2021), eq. 9, for equilibrium propagation.
    """
    return jax.tree.map(lambda p, m: (p - m) / (2 * beta), plus, minus)
