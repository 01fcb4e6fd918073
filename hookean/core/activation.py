"""Activations by the name used at the command line; in code, pass the function itself."""

from collections.abc import Callable
from typing import Any

import jax

#: An elementwise function of an array.
Activation = Callable[[Any], Any]

ACTIVATIONS: dict[str, Activation] = {
    "gelu": jax.nn.gelu,  # the tanh approximation, as in the benchmark
    "hard_tanh": jax.nn.hard_tanh,
    "identity": lambda x: x,
    "leaky_relu": jax.nn.leaky_relu,  # slope 0.01
    "relu": jax.nn.relu,
    "sigmoid": jax.nn.sigmoid,
    "silu": jax.nn.silu,
    "tanh": jax.numpy.tanh,
}
