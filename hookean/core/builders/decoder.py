"""Generative networks: a free latent at the top predicts its way down to the data."""

import itertools
import math
from collections.abc import Callable, Sequence

import jax
from jaxtyping import PRNGKeyArray

from ..activation import ACTIVATIONS, Activation
from ..checks import widths
from ..density import AbstractDensity, Gaussian
from ..layers import Dense, Reshape, TransposedConvolution, keys
from ..network import Network
from ..term import Prediction


def decoder(
    latent: int | Sequence[int],
    outputs: int | Sequence[int],
    *,
    hidden: Sequence[int] = (128, 128),
    activation: Activation = jax.nn.gelu,
    kernel: int = 4,
    squash: Activation = ACTIVATIONS["identity"],
    output: AbstractDensity = Gaussian(),
    key: PRNGKeyArray,
) -> Network:
    r"""Decoder: z -> h1 -> ... -> x with a free top latent z; dense, or deconvolutional where the latent is an image.

    Nothing predicts the latent: clamp x and inference finds z; clamp z and a forward pass generates x.

    Arguments:
        latent: number of latent units, or (height, width, channels) for transposed convolutions that double the size.
        outputs: shape of the data.
        hidden: width, or channels, of each hidden node.
        activation: elementwise, after every layer but the last.
        kernel: side of the square kernels (transposed convolutions only).
        squash: elementwise, after the last layer (default: none; tanh keeps images in -1..1).
        output: density of the data node (default: squared error).
        key: for the weights, uniform in $\pm 1/\sqrt{\text{fan-in}}$.

    Raises:
        ValueError: if doubling the latent image once per layer does not give the size of the data.

    Source: Pinchetti et al. (2025), section on image reconstruction: 64-128-128-784 has 125,968 parameters.
    """
    widths("hidden", hidden)
    top = (latent,) if isinstance(latent, int) else tuple(latent)
    data = (outputs,) if isinstance(outputs, int) else tuple(outputs)
    names = ["z", *(f"h{i + 1}" for i in range(len(hidden))), "x"]
    layer_keys = keys(key, len(names) - 1)
    spatial = len(top) == 3
    if spatial and tuple(n * 2 ** (len(names) - 1) for n in top[:2]) != data[:2]:
        raise ValueError(
            f"a latent of {top} doubled {len(names) - 1} times must have the height and width of the data, got {data}."
        )
    shapes: list[tuple[int, ...]] = [top]
    terms = []
    for i, (source, target) in enumerate(itertools.pairwise(names)):
        last = target == "x"
        phi = squash if last else activation
        if spatial:
            size = data[2] if last else hidden[i]
            layer: Callable = TransposedConvolution(shapes[-1][2], size, phi, kernel=kernel, key=layer_keys[i])
            shapes.append((*(2 * n for n in shapes[-1][:2]), size))
        else:
            shape = data if last else (hidden[i],)
            dense = Dense(math.prod(shapes[-1]), math.prod(shape), phi, key=layer_keys[i])
            layer = dense if len(shape) == 1 else Reshape(dense, shape)
            shapes.append(shape)
        terms.append(Prediction(target, source, layer, output if last else Gaussian()))
    return Network(dict(zip(names, shapes, strict=True)), terms, output="x")
