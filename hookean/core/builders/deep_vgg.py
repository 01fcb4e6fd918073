"""VGG networks of 9 to 19 layers, with batch normalisation and shortcuts where asked."""

import math
from collections.abc import Sequence
from typing import Literal

import jax
from jaxtyping import PRNGKeyArray

from ..activation import Activation
from ..blocks import Joined, PlainBlock, Projection, WithShortcut
from ..checks import one_each
from ..density import AbstractDensity, Gaussian
from ..layers import Dense, identity, keys
from ..network import Network
from ..term import Prediction

Shortcuts = Literal["none", "output", "blocks"]

#: Channels of each convolution of a stage, pooled at its end; then units of hidden dense layers.
Stages = tuple[tuple[int, ...], ...]
VGG9: Stages = ((64,), (128, 128), (256, 256), (512, 512), (512,))
VGG13: Stages = ((128, 128, 128), (128, 256), (256, 256), (256, 512), (512, 512), (512,))
VGG19: Stages = ((64, 64), (128, 128), (256,) * 4, (512,) * 4, (512,) * 4)


def vgg9(
    inputs: Sequence[int],
    outputs: int,
    *,
    activation: Activation = jax.nn.gelu,
    batch_norm: bool = False,
    shortcuts: Shortcuts = "none",
    precision: float | tuple[float, ...] = 1.0,
    width: float = 1.0,
    output: AbstractDensity = Gaussian(),
    key: PRNGKeyArray,
) -> Network:
    """VGG9: eight 3x3 convolutions (64 to 512 channels), four of them pooled, and a dense layer. See `vgg19`.

    Source: Qi et al. (2025).
    """
    return _deep(VGG9, 4, (), inputs, outputs, activation, batch_norm, shortcuts, precision, width, output, key)


def vgg13(
    inputs: Sequence[int],
    outputs: int,
    *,
    activation: Activation = jax.nn.gelu,
    batch_norm: bool = False,
    shortcuts: Shortcuts = "none",
    precision: float | tuple[float, ...] = 1.0,
    width: float = 1.0,
    output: AbstractDensity = Gaussian(),
    key: PRNGKeyArray,
) -> Network:
    """VGG13: twelve 3x3 convolutions (128 to 512 channels), five of them pooled, and a dense layer. See `vgg19`.

    Source: Qi et al. (2025).
    """
    return _deep(VGG13, 5, (), inputs, outputs, activation, batch_norm, shortcuts, precision, width, output, key)


def vgg19(
    inputs: Sequence[int],
    outputs: int,
    *,
    activation: Activation = jax.nn.gelu,
    batch_norm: bool = False,
    shortcuts: Shortcuts = "none",
    precision: float | tuple[float, ...] = 1.0,
    width: float = 1.0,
    output: AbstractDensity = Gaussian(),
    key: PRNGKeyArray,
) -> Network:
    r"""VGG19 of the benchmark's study of shortcuts: 16 convolutions in five pooled stages, then 4096 units.

    Arguments:
        inputs: (height, width, channels) of an image.
        outputs: number of outputs (classes).
        activation: elementwise, between convolution and pooling (default: GELU).
        batch_norm: normalise before the activation (default false).
        shortcuts: "none"; "output", one dense layer from the third convolution to the output, as in the published work;
            "blocks", a 1x1 convolution around every stage of two or more convolutions.
        precision: $\gamma$ of the hidden nodes: a number, or one for each from the input to the output (default 1).
        width: factor on the number of channels and of hidden units (default 1, the published network).
        output: density of the output node (default: squared error).
        key: for the weights: convolutions normal with variance 2 / fan-in, dense layers uniform.

    Raises:
        ValueError: if the image is too small for the stages, or `shortcuts` is none of these.

    Source: Simonyan & Zisserman (2015); Pinchetti et al. (2025), appendix on skip connections.
    """
    return _deep(VGG19, 5, (4096,), inputs, outputs, activation, batch_norm, shortcuts, precision, width, output, key)


def _deep(
    stages: Stages,
    pools: int,
    hidden: Sequence[int],
    inputs: Sequence[int],
    outputs: int,
    activation: Activation,
    batch_norm: bool,
    shortcuts: Shortcuts,
    precision: float | tuple[float, ...],
    width: float,
    output: AbstractDensity,
    key: PRNGKeyArray,
) -> Network:
    if shortcuts not in ("none", "output", "blocks"):
        raise ValueError(f"shortcuts must be none, output or blocks, got '{shortcuts}'.")
    if len(inputs) != 3 or min(inputs[:2]) < 2**pools:
        raise ValueError(f"inputs must be (height, width, channels), at least {2**pools} pixels, got {tuple(inputs)}.")
    count = sum(map(len, stages)) + len(hidden)
    precisions = one_each("precision", precision, count)
    key_of = iter(keys(key, count + len(stages) + 2))
    shapes: dict[str, tuple[int, ...]] = {"x": tuple(inputs)}
    terms: list[Prediction] = []
    source = "x"
    for number, stage in enumerate(stages):
        entry = source
        for i, size in enumerate(max(1, round(width * size)) for size in stage):
            last = i == len(stage) - 1
            (height, breadth, channels), pool = shapes[source], last and number < pools
            name, sources = f"h{len(terms) + 1}", (source,)
            layer: PlainBlock | Joined = PlainBlock(
                channels, size, activation, pool=pool, norm=batch_norm, key=next(key_of)
            )
            if shortcuts == "blocks" and last and len(stage) > 1:
                short = Projection(shapes[entry][2], size, stride=2 if pool else 1, key=next(key_of))
                layer, sources = Joined(layer, short), (source, entry)  # type: ignore[arg-type, assignment]
            shapes[name] = (height // 2, breadth // 2, size) if pool else (height, breadth, size)
            terms.append(Prediction(name, sources, layer, Gaussian(precisions[len(terms)])))
            source = name
    for size in (max(1, round(width * size)) for size in hidden):
        name = f"h{len(terms) + 1}"
        dense = Dense(math.prod(shapes[source]), size, activation, key=next(key_of))
        terms.append(Prediction(name, source, dense, Gaussian(precisions[len(terms)])))
        shapes[name], source = (size,), name
    head = Dense(math.prod(shapes[source]), outputs, identity, key=next(key_of))
    if shortcuts == "output":
        joined = WithShortcut(head, Dense(math.prod(shapes["h3"]), outputs, identity, key=next(key_of)))
        terms.append(Prediction("y", (source, "h3"), joined, output))
    else:
        terms.append(Prediction("y", source, head, output))
    return Network(shapes | {"y": (outputs,)}, terms, input="x", output="y")
