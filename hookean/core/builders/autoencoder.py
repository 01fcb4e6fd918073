"""Autoencoders: a decoder with its mirror image in front, as a network that every feedforward algorithm trains."""

import itertools
import math
from collections.abc import Callable, Sequence

import jax
from jaxtyping import PRNGKeyArray

from ..activation import Activation
from ..density import AbstractDensity, Gaussian
from ..layers import Dense, HalvingConvolution, identity, keys
from ..network import Network
from ..term import Prediction
from .decoder import decoder


def autoencoder(
    latent: int | Sequence[int],
    outputs: int | Sequence[int],
    *,
    hidden: Sequence[int] = (128, 128),
    activation: Activation = jax.nn.gelu,
    kernel: int = 4,
    output: AbstractDensity = Gaussian(),
    key: PRNGKeyArray,
) -> Network:
    r"""Autoencoder: x -> e1 -> ... -> z -> h1 -> ... -> y, where y has the shape of x and z -> ... -> y is a `decoder`.

    Clamp x and y at the same data to train it. The layers of the encoder are those of the decoder in reverse order:
    dense, or convolutions that halve the size where the latent is an image. The latent has no activation, as the free
    latent of a decoder has none.

    Arguments:
        latent: number of latent units, or (height, width, channels).
        outputs: shape of the data.
        hidden: width, or channels, of each hidden node of the decoder, from the latent on.
        activation: elementwise, after every layer but those that predict z and y.
        kernel: side of the square kernels (convolutions only).
        output: density of y (default: squared error).
        key: for the weights, uniform in $\pm 1/\sqrt{\text{fan-in}}$.

    Raises:
        ValueError: if doubling the latent image once per layer does not give the size of the data.

    Source: Pinchetti et al. (2025), the backpropagation rivals of the section on image reconstruction.
    """
    key_encoder, key_decoder = jax.random.split(key)
    options = {"hidden": hidden, "activation": activation, "kernel": kernel, "output": output}
    lower = decoder(latent, outputs, **options, key=key_decoder)  # type: ignore[arg-type]
    mirrored = [shape for _, shape in reversed(lower.node_shapes)]
    names = ["x", *(f"e{i + 1}" for i in range(len(hidden))), "z"]
    terms = []
    pairs = zip(itertools.pairwise(zip(names, mirrored, strict=True)), keys(key_encoder, len(hidden) + 1), strict=True)
    for ((source, before), (target, after)), layer_key in pairs:
        phi = identity if target == "z" else activation
        if len(mirrored[-1]) == 3:
            layer: Callable = HalvingConvolution(before[2], after[2], phi, kernel=kernel, key=layer_key)
        else:
            layer = Dense(math.prod(before), after[0], phi, key=layer_key)
        terms.append(Prediction(target, source, layer))
    for term in lower.terms.values():
        assert isinstance(term, Prediction)
        target = "y" if term.target == "x" else term.target
        terms.append(Prediction(target, term.sources, term.function, term.density))
    shapes = dict(zip(names, mirrored, strict=True)) | {n: s for n, s in lower.node_shapes if n != "x"}
    return Network(shapes | {"y": lower.shapes["x"]}, terms, input="x", output="y")
