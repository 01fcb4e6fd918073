"""What the backend wants: steps written out one after the other, or a loop."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax

# Dense steps: a loop of this length compiles in about a second when written out, and XLA then merges equal work.
LONGEST_DENSE = 16
# A convolution inside an XLA loop on the CPU runs 4 to 30 times slower than the same one written out.
LONGEST_CONVOLUTION = 128


def unrolls(function: Callable, *arguments: Any, steps: int) -> bool:
    """Say whether `steps` repetitions of `function` are better written out than looped on this backend."""
    if steps <= LONGEST_DENSE:
        return True
    return jax.default_backend() == "cpu" and steps <= LONGEST_CONVOLUTION and convolves(function, *arguments)


def convolves(function: Callable, *arguments: Any) -> bool:
    """Say whether `function` computes a convolution anywhere inside."""
    jaxpr = eqx.filter_make_jaxpr(function)(*arguments)[0]
    return "conv_general_dilated" in str(jaxpr)
