"""Elman's network: hidden units that see their own last state."""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from ..activation import Activation
from ..checks import positive
from ..checks import widths as check_widths
from ..density import AbstractDensity, Gaussian
from ..layers import Dense, identity, keys
from ..network import Network
from ..recurrent import Activated, EachStep, LastStep, Readout, Recurrent, cell, check_readout, steps_of
from ..term import Prediction


def elman(
    inputs: int | Sequence[int],
    outputs: int,
    *,
    hidden: Sequence[int] = (128,),
    activation: Activation = jnp.tanh,
    inside: bool = False,
    radius: float = 1.0,
    readout: Readout = "last",
    precision: float = 1.0,
    output: AbstractDensity = Gaussian(),
    key: PRNGKeyArray,
) -> Network:
    r"""Elman network over a sequence: x -> h1 -> ... -> y, each hidden node a sequence that sees its own last step.

    $\hat h_t = \phi(U x_t + W h_{t-1} + b)$, $\hat y = V h_T + c$, or $\hat y_t = V h_t + c$. The energy is a sum over
    the steps. A forward pass rolls the sequence out, so that `BP` is backpropagation through time; `PC` relaxes all
    steps together, `TemporalPC` one after the other.

    Arguments:
        inputs: (steps, units a step); an image is read row by row, a vector one number a step.
        outputs: number of outputs (classes).
        hidden: units of each hidden node (default one of 128).
        activation: $\phi$ (default tanh, as usual).
        inside: put the activation before the weights, $\hat h_t = U x_t + W \phi(h_{t-1}) + b$ and
            $\hat y = V \phi(h) + c$, as temporal predictive coding has it (default false).
        radius: W starts as an orthogonal matrix times this number, the modulus of all its eigenvalues (default 1).
        readout: one output after the last step (default), or one at each step.
        precision: of the hidden nodes; the output's is that of its density.
        output: density of the output node (default: squared error; `Categorical()` for cross entropy).
        key: for the weights; U, V and biases uniform in $\pm 1/\sqrt{\text{fan-in}}$.

    Raises:
        ValueError: if `readout` is neither.

    Source: Elman (1990), whose own training truncated gradients to one step: `BPTT(window=1)`; state before the
    activation as in Millidge et al. (2024).
    """
    steps, units = steps_of(inputs)
    check_widths("hidden", hidden)
    positive("radius", radius)
    check_readout(readout)
    before, after = (activation, identity) if inside else (identity, activation)
    names = ["x", *(f"h{i + 1}" for i in range(len(hidden)))]
    widths = [units, *hidden]
    layer_keys = keys(key, len(widths))
    terms = []
    for i, name in enumerate(names[1:]):
        made = cell(widths[i], hidden[i], hidden[i], radius=radius, before=before, after=after, key=layer_keys[i])
        terms.append(Prediction(name, (names[i], name), Recurrent(made), Gaussian(precision)))
    last = Activated(Dense(widths[-1], outputs, identity, key=layer_keys[-1]), before)
    at = EachStep(last) if readout == "each" else LastStep(last)
    terms.append(Prediction("y", names[-1], at, output))
    read = (steps, outputs) if readout == "each" else (outputs,)
    nodes = {"x": (steps, units)} | {n: (steps, w) for n, w in zip(names[1:], hidden, strict=True)}
    return Network({**nodes, "y": read}, terms, input="x", output="y")
