"""Residual networks for small images, with pre-activation; the shortcut may be delayed by nodes of its own."""

from collections.abc import Sequence

import jax
from jaxtyping import PRNGKeyArray

from ..activation import Activation
from ..blocks import Joined, PooledHead, PreActivation, Projection
from ..checks import one_each
from ..density import AbstractDensity, Gaussian
from ..layers import Dense, identity, keys
from ..network import Network
from ..normalise import BatchNorm
from ..term import Prediction

#: Channels of the four stages; all but the first halve the image.
STAGES = (64, 128, 256, 512)


def resnet10(
    inputs: Sequence[int],
    outputs: int,
    *,
    activation: Activation = jax.nn.relu,
    delayed: bool = True,
    batch_norm: bool = False,
    precision: float | tuple[float, ...] = 1.0,
    delay_precision: float = 1.0,
    width: float = 1.0,
    output: AbstractDensity = Gaussian(),
    key: PRNGKeyArray,
) -> Network:
    """ResNet-10: a stem, four basic blocks, one in each stage, and a dense layer. See `resnet18`.

    Source: Qi et al. (2025); the network that Goemaere et al. (2025) call ResNet-18.
    """
    given = (inputs, outputs, activation, delayed, batch_norm, precision, delay_precision, width, output, key)
    return _resnet(1, *given)


def resnet18(
    inputs: Sequence[int],
    outputs: int,
    *,
    activation: Activation = jax.nn.relu,
    delayed: bool = True,
    batch_norm: bool = False,
    precision: float | tuple[float, ...] = 1.0,
    delay_precision: float = 1.0,
    width: float = 1.0,
    output: AbstractDensity = Gaussian(),
    key: PRNGKeyArray,
) -> Network:
    r"""ResNet-18 for small images: a 3x3 stem, eight basic blocks in four stages, then the mean and a dense layer.

    A block on the state s is $a = W_1 * \phi(s)$, $b = W_2 * \phi(a) + P(s)$, where P is the identity, or a 1x1
    convolution where the size changes. Without normalisation and with width 1 it has 11,164,362 parameters for ten
    classes.

    Arguments:
        inputs: (height, width, channels) of an image.
        outputs: number of outputs (classes).
        activation: $\phi$, before each convolution but the stem (default: ReLU).
        delayed: give each shortcut a node d = P(s), so that an error takes as many steps along it as along the
            block (default true). Every path from a node to the output then has the same number of terms.
        batch_norm: normalise before each activation (default false).
        precision: $\gamma$ of the nodes of stem and blocks: a number, or one for each from the input to the output.
        delay_precision: precision of the nodes of shortcuts (default 1; the source has one over the state rate).
        width: factor on the number of channels (default 1).
        output: density of the output node (default: squared error).
        key: for the weights: convolutions normal with variance 2 / fan-in, the dense layer uniform.

    Raises:
        ValueError: if the image has fewer than 8 pixels on a side.

    Source: He et al. (2016), pre-activation; delayed shortcuts of Qi et al. (2025).
    """
    given = (inputs, outputs, activation, delayed, batch_norm, precision, delay_precision, width, output, key)
    return _resnet(2, *given)


def _resnet(
    blocks: int,
    inputs: Sequence[int],
    outputs: int,
    activation: Activation,
    delayed: bool,
    batch_norm: bool,
    precision: float | tuple[float, ...],
    delay_precision: float,
    width: float,
    output: AbstractDensity,
    key: PRNGKeyArray,
) -> Network:
    if len(inputs) != 3 or min(inputs[:2]) < 8:
        raise ValueError(f"inputs must be (height, width, channels) of at least 8 pixels, got {tuple(inputs)}.")
    precisions = iter(one_each("precision", precision, 1 + 2 * blocks * len(STAGES)))
    key_of = iter(keys(key, 3 * blocks * len(STAGES) + 2))
    sizes = [max(1, round(width * size)) for size in STAGES]
    height, breadth, channels = inputs[0], inputs[1], sizes[0]
    nodes: dict[str, Sequence[int] | int] = {"x": tuple(inputs), "s": (height, breadth, channels)}
    stem = PreActivation(inputs[2], channels, identity, norm=False, key=next(key_of))
    terms = [Prediction("s", "x", stem, Gaussian(next(precisions)))]
    source = "s"
    for number, (size, block) in enumerate((size, block) for size in sizes for block in range(blocks)):
        stride = 2 if block == 0 and number > 0 else 1
        height, breadth = -(-height // stride), -(-breadth // stride)
        a, b, d = (f"{part}{number + 1}" for part in "abd")
        first = PreActivation(channels, size, activation, stride=stride, norm=batch_norm, key=next(key_of))
        second = PreActivation(size, size, activation, norm=batch_norm, key=next(key_of))
        changes = stride > 1 or channels != size
        project = Projection(channels, size, stride=stride, key=next(key_of)) if changes else None
        nodes[a] = nodes[b] = (height, breadth, size)
        terms.append(Prediction(a, source, first, Gaussian(next(precisions))))
        if delayed:
            nodes[d] = (height, breadth, size)
            terms.append(Prediction(d, source, project or identity, Gaussian(delay_precision)))
        joined = Joined(second, None if delayed else project)
        terms.append(Prediction(b, (a, d if delayed else source), joined, Gaussian(next(precisions))))
        channels, source = size, b
    nodes["y"] = outputs
    norm = BatchNorm(channels) if batch_norm else None
    head = PooledHead(Dense(channels, outputs, identity, key=next(key_of)), norm, activation)
    terms.append(Prediction("y", source, head, output))
    return Network(nodes, terms, input="x", output="y")
