"""How a state may deviate from its prediction: the negative log densities that prediction terms are made of."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .precision import AbstractPrecision, ScalarPrecision


class AbstractDensity(eqx.Module):
    """The energy of a state given its prediction, for one sample.

    `rests_at_prediction` says that the energy is stationary in every argument where the state equals its
    forward value. The relaxation uses it to leave out terms that cannot have moved.
    """

    rests_at_prediction: eqx.AbstractClassVar[bool]

    @abc.abstractmethod
    def energy(self, state: Float[Array, "*node"], prediction: Float[Array, "*node"]) -> Float[Array, ""]:
        """Return the energy in nats."""

    @abc.abstractmethod
    def mean(self, prediction: Float[Array, "*node"]) -> Float[Array, "*node"]:
        """Return the expected state under the prediction, which a forward pass writes into the node."""

    @abc.abstractmethod
    def curvature_root(self, prediction: Float[Array, "*node"], signal: Float[Array, "*node"]) -> Float[Array, "*node"]:
        r"""Return $Rv$, linear in v, with $RR^\top$ the second derivative of the energy in the prediction."""

    @abc.abstractmethod
    def learns(self) -> bool:
        """Say whether the density has trained parameters of its own (a learned precision)."""


class Gaussian(AbstractDensity):
    r"""Squared error weighted by a precision: $\frac12 \varepsilon^\top\Pi\varepsilon$ with $\varepsilon = x - \hat x$.

    A learned precision adds its log-normaliser $-\frac12\log\det\Pi$; without it the precision would shrink to zero.

    Arguments:
        precision: a number (the same for every unit, fixed; default 1) or any `AbstractPrecision`.

    Raises:
        ValueError: if `precision` is an array with an axis.
    """

    precision: AbstractPrecision
    rests_at_prediction = True

    def __init__(self, precision: float | AbstractPrecision = 1.0):
        given: Any = precision
        if (shape := np.shape(given)) != ():
            raise ValueError(
                f"precision must be a number or a precision, got an array of shape {shape}. "
                "Use DiagonalPrecision(array), or FullPrecision(array) for a matrix."
            )
        self.precision = precision if isinstance(precision, AbstractPrecision) else ScalarPrecision(precision)

    def energy(self, state: Float[Array, "*node"], prediction: Float[Array, "*node"]) -> Float[Array, ""]:
        error = state - prediction
        energy = 0.5 * jnp.sum(error * self.precision.times(error))
        if self.precision.learned:
            energy = energy - 0.5 * self.precision.log_determinant(error.size)
        return energy

    def mean(self, prediction: Float[Array, "*node"]) -> Float[Array, "*node"]:
        return prediction

    def curvature_root(self, prediction: Float[Array, "*node"], signal: Float[Array, "*node"]) -> Float[Array, "*node"]:
        del prediction
        return self.precision.root(signal)

    def learns(self) -> bool:
        return self.precision.learned


class Categorical(AbstractDensity):
    r"""Cross entropy against a softmax of logits: $-\sum_c x_c \log\mathrm{softmax}(\hat x)_c$."""

    rests_at_prediction = False  # the energy is linear in the state, so it has a slope everywhere

    def energy(self, state: Float[Array, "*node"], prediction: Float[Array, "*node"]) -> Float[Array, ""]:
        return -jnp.sum(state * jax.nn.log_softmax(prediction, axis=-1))

    def mean(self, prediction: Float[Array, "*node"]) -> Float[Array, "*node"]:
        return jax.nn.softmax(prediction, axis=-1)

    def curvature_root(self, prediction: Float[Array, "*node"], signal: Float[Array, "*node"]) -> Float[Array, "*node"]:
        # diag(p) - p p^T = R R^T with R = diag(sqrt p) - p sqrt(p)^T, which divides by no probability.
        root = jnp.exp(0.5 * jax.nn.log_softmax(prediction, axis=-1))
        return root * signal - root**2 * jnp.sum(root * signal, axis=-1, keepdims=True)

    def learns(self) -> bool:
        return False


class Bernoulli(AbstractDensity):
    r"""Binary cross entropy against logits: $\sum_i \mathrm{softplus}(\hat x_i) - x_i\hat x_i$."""

    rests_at_prediction = False

    def energy(self, state: Float[Array, "*node"], prediction: Float[Array, "*node"]) -> Float[Array, ""]:
        return jnp.sum(jax.nn.softplus(prediction) - state * prediction)

    def mean(self, prediction: Float[Array, "*node"]) -> Float[Array, "*node"]:
        return jax.nn.sigmoid(prediction)

    def curvature_root(self, prediction: Float[Array, "*node"], signal: Float[Array, "*node"]) -> Float[Array, "*node"]:
        # sqrt(p (1 - p)), finite for logits of any size.
        return jnp.exp(0.5 * (jax.nn.log_sigmoid(prediction) + jax.nn.log_sigmoid(-prediction))) * signal

    def learns(self) -> bool:
        return False


#: Output densities by the name used at the command line.
DENSITIES = {"gaussian": Gaussian, "categorical": Categorical, "bernoulli": Bernoulli}
