"""VGG networks of the benchmark: blocks of convolution, activation and max-pooling, then one dense layer."""

from collections.abc import Sequence

import jax
from jaxtyping import PRNGKeyArray

from ..activation import Activation
from ..density import AbstractDensity, Gaussian
from ..layers import Convolution, Dense, identity, keys
from ..network import Network
from ..term import Prediction

#: (channels, padding, pooled) of each block.
VGG5_BLOCKS = ((128, 1, True), (256, 1, True), (512, 1, True), (512, 1, True))
VGG7_BLOCKS = (
    (128, 1, True),
    (128, 1, False),
    (256, 1, True),
    (256, 0, False),
    (512, 1, True),
    (512, 0, False),
)


def vgg5(
    inputs: Sequence[int],
    outputs: int,
    *,
    activation: Activation = jax.nn.gelu,
    output: AbstractDensity = Gaussian(),
    width: float = 1.0,
    key: PRNGKeyArray,
) -> Network:
    """VGG5: four pooled 3x3 convolutions (128, 256, 512, 512 channels) and a dense layer; 3,859,210 parameters.

    The state of a node stands after activation and pooling. See `vgg7` for the arguments.

    Source: Pinchetti et al. (2025); the layers are those of the equilibrium-propagation network of Scellier et al.
    """
    return _vgg(VGG5_BLOCKS, inputs, outputs, activation, output, width, key)


def vgg7(
    inputs: Sequence[int],
    outputs: int,
    *,
    activation: Activation = jax.nn.gelu,
    output: AbstractDensity = Gaussian(),
    width: float = 1.0,
    key: PRNGKeyArray,
) -> Network:
    """VGG7: six 3x3 convolutions, three of them pooled, and a dense layer; 4,581,514 parameters.

    Arguments:
        inputs: (height, width, channels) of an image.
        outputs: number of outputs (classes).
        activation: elementwise, between convolution and pooling (default: GELU).
        output: density of the output node (default: squared error).
        width: factor on the number of channels (default 1, the published network).
        key: for the weights, uniform in plus or minus one over the root of the fan-in.

    Raises:
        ValueError: if the image is too small for the blocks.

    Source: Pinchetti et al. (2025).
    """
    return _vgg(VGG7_BLOCKS, inputs, outputs, activation, output, width, key)


def _vgg(
    blocks: Sequence[tuple[int, int, bool]],
    inputs: Sequence[int],
    outputs: int,
    activation: Activation,
    output: AbstractDensity,
    width: float,
    key: PRNGKeyArray,
) -> Network:
    if len(inputs) != 3:
        raise ValueError(f"inputs must be (height, width, channels), got {tuple(inputs)}.")
    nodes: dict[str, Sequence[int] | int] = {"x": tuple(inputs)}
    terms: list[Prediction] = []
    layer_keys = keys(key, len(blocks) + 1)
    height, breadth, channels = inputs
    source = "x"
    for i, (size, padding, pool) in enumerate(blocks):
        name, size = f"h{i + 1}", max(1, round(size * width))
        layer = Convolution(channels, size, activation, padding=padding, pool=pool, key=layer_keys[i])
        height, breadth = ((n - 2 + 2 * padding) // (2 if pool else 1) for n in (height, breadth))
        if height < 1 or breadth < 1:
            raise ValueError(f"images of {tuple(inputs)} are too small: nothing is left after block {i + 1}.")
        nodes[name] = (height, breadth, size)
        terms.append(Prediction(name, source, layer))
        channels, source = size, name
    flat = channels * height * breadth
    nodes["y"] = outputs
    terms.append(Prediction("y", source, Dense(flat, outputs, identity, key=layer_keys[-1]), output))
    return Network(nodes, terms, input="x", output="y")
