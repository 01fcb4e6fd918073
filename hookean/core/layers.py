"""Prediction functions that the builders put together from Equinox layers."""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from .activation import Activation


class Dense(eqx.Module):
    r"""$\hat x = \phi(W x + b)$, on the flattened source.

    Arguments:
        inputs, outputs: number of units.
        activation: $\phi$, elementwise.
        key: weights and biases start uniform in $\pm 1/\sqrt{\text{inputs}}$ (Equinox's default).
    """

    linear: eqx.nn.Linear
    activation: Activation

    def __init__(self, inputs: int, outputs: int, activation: Activation, *, key: PRNGKeyArray):
        self.linear = eqx.nn.Linear(inputs, outputs, key=key)
        self.activation = activation

    def __call__(self, state: Float[Array, "*source"]) -> Float[Array, "m"]:
        return self.activation(self.linear(state.reshape(-1)))

    def orthogonal(self, gain: float, *, key: PRNGKeyArray) -> "Dense":
        """Return the layer with weights that are `gain` times an orthogonal matrix, and zero biases."""
        weight = jax.nn.initializers.orthogonal(gain)(key, self.linear.weight.shape)
        assert self.linear.bias is not None
        new = (weight, jnp.zeros_like(self.linear.bias))
        return eqx.tree_at(lambda layer: (layer.linear.weight, layer.linear.bias), self, new)


class Convolution(eqx.Module):
    """3x3 convolution with stride 1, activation, then, where asked, 2x2 max-pooling: one block of the VGG networks.

    Images are (height, width, channels): XLA's CPU convolution wants the channels last, and with them first it moves
    every image twice.

    Arguments:
        inputs, outputs: number of channels.
        padding: 1 keeps the size, 0 loses a pixel on each side.
        pool: halve the size by max-pooling.
    """

    weight: Float[Array, "3 3 c d"]
    bias: Float[Array, "d"]
    activation: Activation
    padding: int = eqx.field(static=True)
    pool: bool = eqx.field(static=True)

    def __init__(
        self,
        inputs: int,
        outputs: int,
        activation: Activation,
        *,
        padding: int,
        pool: bool,
        key: PRNGKeyArray,
    ):
        self.weight, self.bias = _uniform(key, (3, 3, inputs, outputs), fan_in=9 * inputs)
        self.activation = activation
        self.padding = padding
        self.pool = pool

    def __call__(self, state: Float[Array, "h w c"]) -> Float[Array, "k l d"]:
        drive = convolve(state, self.weight, around=(self.padding, self.padding))
        state = self.activation(drive + self.bias)
        return max_pool(state) if self.pool else state


#: Images, kernels and results of convolutions.
_LAYOUT = ("NHWC", "HWIO", "NHWC")


def convolve(
    state: Float[Array, "h w c"],
    weight: Float[Array, "k k c d"],
    stride: int = 1,
    around: tuple[int, int] | None = None,
) -> Float[Array, "*image"]:
    """Return the convolution, in the wider precision of image and kernel.

    Arguments:
        around: zeros before and behind the image, along both axes; None puts so many that stride 1 keeps its size.
    """
    dtype = jnp.result_type(state, weight)
    zeros = ((weight.shape[0] - 1) // 2,) * 2 if around is None else around
    return jax.lax.conv_general_dilated(
        state[None].astype(dtype), weight.astype(dtype), (stride,) * 2, (zeros,) * 2, dimension_numbers=_LAYOUT
    )[0]


def _uniform(key: PRNGKeyArray, shape: tuple[int, ...], *, fan_in: int) -> tuple[Array, Array]:
    """Return a kernel and a bias, uniform in plus or minus one over the root of the fan-in (as in Equinox)."""
    weight_key, bias_key = jax.random.split(key)
    limit = fan_in**-0.5
    weight = jax.random.uniform(weight_key, shape, minval=-limit, maxval=limit)
    return weight, jax.random.uniform(bias_key, shape[-1:], minval=-limit, maxval=limit)


def max_pool(state: Float[Array, "h w c"]) -> Float[Array, "h//2 w//2 c"]:
    """Return the maximum over 2x2 blocks; an odd last row or column is left out.

    Two pairwise maxima, first over rows, then over columns: the gradient is elementwise, where that of a windowed
    reduction is a scatter. On two CPU cores: 18 ms against 89 ms forward and back for 64 x 32 x 32 x 128.
    """
    height, width, channels = state.shape
    even = state[: height // 2 * 2, : width // 2 * 2]
    rows = even.reshape(height // 2, 2, -1, channels)
    columns = jnp.maximum(rows[:, 0], rows[:, 1]).reshape(height // 2, width // 2, 2, channels)
    return jnp.maximum(columns[:, :, 0], columns[:, :, 1])


class TransposedConvolution(eqx.Module):
    r"""Transposed convolution that doubles the size, then the activation: one block of the decoders.

    $y_o = \sum_j w_j\, \tilde s_{o + j - \lfloor k/2 \rfloor}$, where $\tilde s$ is the image with zeros between its
    pixels. Each of the four places of a pixel in a 2 x 2 block meets the same part of the kernel everywhere, so that
    one ordinary convolution with four times the channels gives all of them. Against a convolution of the image with
    zeros: 18 ms to 49 ms of one CPU core for the energy gradient of the decoder of CIFAR-10, 200 images.
    """

    weight: Float[Array, "k k c d"]
    bias: Float[Array, "d"]
    activation: Activation

    def __init__(self, inputs: int, outputs: int, activation: Activation, *, kernel: int, key: PRNGKeyArray):
        self.weight, self.bias = _uniform(key, (kernel, kernel, inputs, outputs), fan_in=kernel * kernel * inputs)
        self.activation = activation

    def __call__(self, state: Float[Array, "h w c"]) -> Float[Array, "2*h 2*w d"]:
        (height, width, _), outputs = state.shape, self.weight.shape[3]
        weight, around = self._phases()
        drive = convolve(state, weight, around=around)
        blocks = drive.reshape(height, width, 2, 2, outputs).transpose(0, 2, 1, 3, 4)
        return self.activation(blocks.reshape(2 * height, 2 * width, outputs) + self.bias)

    def _phases(self) -> tuple[Float[Array, "m m c n"], tuple[int, int]]:
        """Return the kernel of the ordinary convolution, and the zeros around the image that it needs."""
        size, _, inputs, outputs = self.weight.shape
        # (place in the block, offset in the image, place in the kernel), along one side
        found = [(o, (o + j - size // 2) // 2, j) for o in (0, 1) for j in range(size) if (o + j - size // 2) % 2 == 0]
        first, last = min(i for _, i, _ in found), max(i for _, i, _ in found)
        side = last - first + 1
        taken = np.full((2, side), size)  # the row of zeros, where the kernel does not reach
        for place, offset, j in found:
            taken[place, offset - first] = j
        padded = jnp.pad(self.weight, ((0, 1), (0, 1), (0, 0), (0, 0)))
        weight = padded[taken][:, :, taken]  # [2, side, 2, side, c, d]
        weight = weight.transpose(1, 3, 4, 0, 2, 5).reshape(side, side, inputs, 4 * outputs)
        return weight, (-first, last)


class HalvingConvolution(eqx.Module):
    """Convolution with stride 2 that halves the size, then the activation: one block of the encoders.

    Arguments:
        inputs, outputs: number of channels; height and width must be even.
        kernel: side of the square kernel.
    """

    weight: Float[Array, "k k c d"]
    bias: Float[Array, "d"]
    activation: Activation

    def __init__(self, inputs: int, outputs: int, activation: Activation, *, kernel: int, key: PRNGKeyArray):
        self.weight, self.bias = _uniform(key, (kernel, kernel, inputs, outputs), fan_in=kernel * kernel * inputs)
        self.activation = activation

    def __call__(self, state: Float[Array, "h w c"]) -> Float[Array, "h//2 w//2 d"]:
        kernel = self.weight.shape[0]
        around = ((kernel - 1) // 2, kernel // 2 - 1 + kernel % 2)
        return self.activation(convolve(state, self.weight, 2, around) + self.bias)


def keys(key: PRNGKeyArray, number: int) -> Sequence[PRNGKeyArray]:
    """Return one key per layer."""
    return list(jax.random.split(key, number))


class Reshape(eqx.Module):
    """A layer whose output is given another shape."""

    layer: Dense
    shape: tuple[int, ...] = eqx.field(static=True)

    def __call__(self, state: Float[Array, "*source"]) -> Float[Array, "*target"]:
        return self.layer(state).reshape(self.shape)


def identity(state: Float[Array, "*node"]) -> Float[Array, "*node"]:
    """Return the state: the activation of output layers."""
    return state


class Residual(eqx.Module):
    r"""$\hat x = s + a\,W\phi(s)$: a residual layer with the activation before the weights; no skip where asked.

    Arguments:
        weight: W, outputs times inputs, on the flattened source.
        factor: a, fixed (a parameterisation such as muPC scales by it instead of by the first weights).
        activation: $\phi$, elementwise.
        skip: add the source; inputs and outputs must then agree.
    """

    weight: Float[Array, "m n"]
    factor: float = eqx.field(static=True)
    activation: Activation
    skip: bool = eqx.field(static=True)

    def __call__(self, state: Float[Array, "*source"]) -> Float[Array, "m"]:
        # Without the barrier XLA fuses the sums of many layers into one kernel and evaluates them again for every use.
        state = jax.lax.optimization_barrier(state)
        drive = self.factor * (self.weight @ self.activation(state).reshape(-1))
        return state + drive if self.skip else drive
