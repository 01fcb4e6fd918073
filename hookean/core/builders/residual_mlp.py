"""Residual multilayer perceptron, in the standard and in the depth-muP parameterisation."""

import itertools
import math
from collections.abc import Sequence

import jax
from jaxtyping import PRNGKeyArray

from ..activation import Activation
from ..checks import at_least, one_each
from ..density import AbstractDensity, Gaussian
from ..layers import Residual, identity, keys
from ..network import Network
from ..term import Prediction


def residual_mlp(
    inputs: int | Sequence[int],
    outputs: int,
    *,
    width: int = 128,
    depth: int = 16,
    skip: bool = True,
    mup: bool = False,
    activation: Activation = jax.nn.relu,
    precision: float | tuple[float, ...] = 1.0,
    output: AbstractDensity = Gaussian(),
    key: PRNGKeyArray,
) -> Network:
    r"""Residual MLP: x -> h1 -> ... -> hH -> y with $\hat h_l = h_{l-1} + a_l W_l\phi(h_{l-1})$; no biases.

    | layer | factor, standard | factor, muPC |
    |---|---|---|
    | first | 1 | $1/\sqrt{D}$ |
    | hidden | $1/\sqrt{L}$, without skips 1 | $1/\sqrt{NL}$, without skips $1/\sqrt{N}$ |
    | last | 1 | $1/N$ |

    D is the number of inputs, N the width, L = H + 1 the number of weight layers. Weights start from a normal
    distribution, with variance 1 / fan-in (standard) or 1 (muPC).

    Arguments:
        inputs: shape of a sample; anything but a vector is flattened by the first layer.
        outputs: number of outputs (classes).
        width: N, units of each hidden node.
        depth: H, number of hidden nodes.
        skip: add the state below to the prediction of every hidden node but the first.
        mup: the muPC parameterisation, in which state and weight rates stay the same over width and depth.
        activation: $\phi$, before the weights of every layer but the first.
        precision: $\gamma$, precision of the hidden nodes: a number, or one for each of them. The output's is that of
            its density.
        output: density of the output node (default: squared error).
        key: for the weights.

    Raises:
        ValueError: if width or depth is below 1.

    Source: Innocenti, Achour & Buckley (2025), muPC.
    """
    at_least("width", width, 1)
    at_least("depth", depth, 1)
    shape = (inputs,) if isinstance(inputs, int) else tuple(inputs)
    widths = [math.prod(shape), *(width for _ in range(depth)), outputs]
    names = ["x", *(f"h{i + 1}" for i in range(depth)), "y"]
    layers = depth + 1
    precisions = one_each("precision", precision, depth)
    branch = layers**-0.5 if skip else 1.0
    factors = [1.0, *(branch for _ in range(depth - 1)), 1.0]
    if mup:
        factors = [widths[0] ** -0.5, *(branch * width**-0.5 for _ in range(depth - 1)), 1 / width]
    terms = []
    for i, (source, target) in enumerate(itertools.pairwise(names)):
        weight = jax.random.normal(keys(key, layers)[i], (widths[i + 1], widths[i]))
        if not mup:
            weight = weight * widths[i] ** -0.5
        first, last = i == 0, target == "y"
        layer = Residual(weight, factors[i], identity if first else activation, skip and not (first or last))
        terms.append(Prediction(target, source, layer, output if last else Gaussian(precisions[i])))
    nodes = {"x": shape} | dict(zip(names[1:], widths[1:], strict=True))
    return Network(nodes, terms, input="x", output="y")
