"""Jordan's network: hidden units that see the last output."""

import dataclasses
import itertools
from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from ..activation import Activation
from ..checks import positive
from ..checks import widths as check_widths
from ..density import AbstractDensity, Gaussian
from ..layers import Dense, identity, keys
from ..network import Network
from ..recurrent import LastStep, Readout, Recurrent, cell, check_readout, steps_of
from ..term import Prediction


def jordan(
    inputs: int | Sequence[int],
    outputs: int,
    *,
    hidden: Sequence[int] = (128,),
    activation: Activation = jnp.tanh,
    decay: float = 0.0,
    radius: float = 1.0,
    readout: Readout = "last",
    precision: float = 1.0,
    output: AbstractDensity = Gaussian(),
    key: PRNGKeyArray,
) -> Network:
    r"""Jordan network over a sequence: the output is the node with a past, and hidden units see it.

    $\hat y_t = V\,\phi(U x_t + R s_t + b) + c$ with the context $s_{t+1} = \alpha s_t + y_t$. Where the outputs are
    clamped, the context is the teacher's (teacher forcing); where they are free, it is the network's own.

    Arguments:
        inputs: (steps, units a step); an image is read row by row, a vector one number a step.
        outputs: number of outputs (classes).
        hidden: units of each hidden layer, inside the prediction (default one of 128); the first sees the context.
        activation: $\phi$ (default tanh).
        decay: $\alpha$ in [0, 1) (default 0: the context is the last output).
        radius: R starts as an orthogonal matrix times this number (default 1).
        readout: `last`: the outputs are a node `o`, of which the node y is predicted to be the last; `each`: the
            outputs are the node y.
        precision: of the node `o`.
        output: density of the node y (default: squared error).
        key: for the weights; U, V and biases uniform in $\pm 1/\sqrt{\text{fan-in}}$.

    Raises:
        ValueError: if `readout` is neither.

    Source: Jordan (1986).
    """
    steps, units = steps_of(inputs)
    check_widths("hidden", hidden)
    positive("radius", radius)
    check_readout(readout)
    first, *others = keys(key, len(hidden) + 1)
    made = cell(units, hidden[0], outputs, radius=radius, before=identity, after=activation, key=first)
    widths = list(itertools.pairwise((*hidden, outputs)))
    shapes = [identity if i + 1 == len(widths) else activation for i in range(len(widths))]
    layers = tuple(Dense(n, m, phi, key=k) for (n, m), phi, k in zip(widths, shapes, others, strict=True))
    function = Recurrent(dataclasses.replace(made, layers=layers), decay)
    if readout == "each":
        term = Prediction("y", ("x", "y"), function, output)
        return Network({"x": (steps, units), "y": (steps, outputs)}, [term], input="x", output="y")
    terms = [
        Prediction("o", ("x", "o"), function, Gaussian(precision)),
        Prediction("y", "o", LastStep(identity), output),
    ]
    return Network({"x": (steps, units), "o": (steps, outputs), "y": outputs}, terms, input="x", output="y")
