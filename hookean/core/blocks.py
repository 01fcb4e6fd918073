"""Predictions of deep convolutional networks: normalised, strided and joined layers."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from .activation import Activation
from .layers import Dense, convolve, max_pool
from .normalise import AbstractNormalised, BatchNorm


class PlainBlock(AbstractNormalised):
    r"""Convolution, normalisation, activation, then, where asked, 2x2 max-pooling: $\mathrm{pool}(\phi(N(W * s)))$.

    Arguments:
        inputs, outputs: number of channels.
        pool: halve the size by max-pooling.
        norm: normalise, which takes the place of the bias; without it there is a bias.
        key: for the kernel, normal with variance 2 / fan-in; the bias starts at zero.
    """

    weight: Float[Array, "3 3 c d"]
    bias: Float[Array, "d"] | None
    norm: BatchNorm | None
    activation: Activation
    pool: bool = eqx.field(static=True)

    def __init__(self, inputs: int, outputs: int, activation: Activation, *, pool: bool, norm: bool, key: PRNGKeyArray):
        self.weight = kernel(key, 3, inputs, outputs)
        self.bias, self.norm = (None, BatchNorm(outputs)) if norm else (jnp.zeros(outputs), None)
        self.activation, self.pool = activation, pool

    def __call__(self, state: Float[Array, "h w c"]) -> Float[Array, "*image"]:
        drive = self._drive(state)
        drive = drive if self.norm is None else self.norm(drive)
        state = self.activation(drive)
        return max_pool(state) if self.pool else state

    def _drive(self, state: Float[Array, "h w c"]) -> Float[Array, "h w d"]:
        drive = convolve(state, self.weight)
        return drive if self.bias is None else drive + self.bias.reshape(1, 1, -1)

    def measured(self, *sources: Float[Array, "batch ..."]) -> "PlainBlock":
        if self.norm is None:
            return self
        return eqx.tree_at(lambda b: b.norm, self, self.norm.measured(jax.vmap(self._drive)(sources[0])))

    def averaged(self) -> "PlainBlock":
        return self if self.norm is None else eqx.tree_at(lambda b: b.norm, self, self.norm.averaged())


class PreActivation(AbstractNormalised):
    r"""Normalisation, activation, convolution without a bias: $W * \phi(N(s))$.

    Arguments:
        inputs, outputs: number of channels.
        size: of the kernel, in pixels.
        stride: 2 halves the image.
        norm: normalise the source.
        key: for the kernel, normal with variance 2 / fan-in.
    """

    weight: Float[Array, "k k c d"]
    norm: BatchNorm | None
    activation: Activation
    stride: int = eqx.field(static=True)

    def __init__(
        self,
        inputs: int,
        outputs: int,
        activation: Activation,
        *,
        size: int = 3,
        stride: int = 1,
        norm: bool,
        key: PRNGKeyArray,
    ):
        self.weight = kernel(key, size, inputs, outputs)
        self.norm = BatchNorm(inputs) if norm else None
        self.activation, self.stride = activation, stride

    def __call__(self, state: Float[Array, "h w c"]) -> Float[Array, "*image"]:
        state = state if self.norm is None else self.norm(state)
        return convolve(self.activation(state), self.weight, self.stride)

    def measured(self, *sources: Float[Array, "batch ..."]) -> "PreActivation":
        return self if self.norm is None else eqx.tree_at(lambda b: b.norm, self, self.norm.measured(sources[0]))

    def averaged(self) -> "PreActivation":
        return self if self.norm is None else eqx.tree_at(lambda b: b.norm, self, self.norm.averaged())


class Joined(AbstractNormalised):
    """The sum of a layer of the first source and a shortcut of the second one.

    Arguments:
        layer: of the main path.
        shortcut: a 1x1 convolution with the stride of the block, or None for the identity.
    """

    layer: PlainBlock | PreActivation
    shortcut: "Projection | None"

    def __call__(self, main: Float[Array, "h w c"], short: Float[Array, "*source"]) -> Float[Array, "*image"]:
        return self.layer(main) + (short if self.shortcut is None else self.shortcut(short))

    def measured(self, *sources: Float[Array, "batch ..."]) -> "Joined":
        return eqx.tree_at(lambda j: j.layer, self, self.layer.measured(sources[0]))

    def averaged(self) -> "Joined":
        return eqx.tree_at(lambda j: j.layer, self, self.layer.averaged())


class Projection(eqx.Module):
    """1x1 convolution without a bias: a shortcut between blocks of different size."""

    weight: Float[Array, "1 1 c d"]
    stride: int = eqx.field(static=True)

    def __init__(self, inputs: int, outputs: int, *, stride: int, key: PRNGKeyArray):
        self.weight, self.stride = kernel(key, 1, inputs, outputs), stride

    def __call__(self, state: Float[Array, "h w c"]) -> Float[Array, "*image"]:
        return convolve(state, self.weight, self.stride)


class PooledHead(AbstractNormalised):
    """Normalisation, activation, mean over the image, dense layer: the output of a residual network."""

    dense: Dense
    norm: BatchNorm | None
    activation: Activation

    def __call__(self, state: Float[Array, "h w c"]) -> Float[Array, "m"]:
        state = state if self.norm is None else self.norm(state)
        return self.dense(jnp.mean(self.activation(state), axis=(0, 1)))

    def measured(self, *sources: Float[Array, "batch ..."]) -> "PooledHead":
        return self if self.norm is None else eqx.tree_at(lambda b: b.norm, self, self.norm.measured(sources[0]))

    def averaged(self) -> "PooledHead":
        return self if self.norm is None else eqx.tree_at(lambda b: b.norm, self, self.norm.averaged())


class WithShortcut(eqx.Module):
    """The sum of a dense layer of the first source and one of the second: the shortcut to the output."""

    layer: Dense
    shortcut: Dense

    def __call__(self, main: Float[Array, "*main"], short: Float[Array, "*short"]) -> Float[Array, "m"]:
        return self.layer(main) + self.shortcut(short)


def kernel(key: PRNGKeyArray, size: int, inputs: int, outputs: int) -> Float[Array, "k k c d"]:
    """Return a kernel from a normal distribution with variance 2 / fan-in (He et al., 2015)."""
    fan_in = size * size * inputs
    return (2 / fan_in) ** 0.5 * jax.random.normal(key, (size, size, inputs, outputs))
