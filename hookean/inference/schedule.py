"""Precision over relaxation steps: factors on the energies of the terms while the states relax."""

import abc
from collections.abc import Mapping

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ..core.checks import known, positive


class AbstractSchedule(eqx.Module):
    """Gives every term a factor on its energy at every relaxation step. Weights and reports see the energy without."""

    @abc.abstractmethod
    def factors(self, arrival: Mapping[str, int], step: Int[Array, ""] | int) -> dict[str, Float[Array, ""]]:
        """Return name of term -> factor.

        Arguments:
            arrival: name of term -> the step, counted from 0, at which it first holds energy.
            step: the step, counted from 0.
        """


class Spiking(AbstractSchedule):
    r"""Factor 1 at the step at which the error arrives at a term, $\alpha$ at every later step.

    The error then passes through each term once, without echo.

    Arguments:
        alpha: $\alpha > 0$ (default 0.001).

    Source: Qi et al. (2025), spiking precision.
    """

    alpha: float = 0.001

    def __check_init__(self) -> None:
        positive("alpha", self.alpha)

    def factors(self, arrival: Mapping[str, int], step: Int[Array, ""] | int) -> dict[str, Float[Array, ""]]:
        return {name: jnp.where(step <= first, 1.0, self.alpha) for name, first in arrival.items()}


class Decaying(AbstractSchedule):
    r"""Factor 1 at the step at which the error arrives at a term, then $e^{-kj} / (c \sum_{i\ge1} e^{-ki})$.

    j counts the steps since the arrival.

    Arguments:
        decay: k > 0 (default 1).
        divisor: c > 0 (default 100).

    Source: Qi et al. (2025), decaying precision.
    """

    decay: float = 1.0
    divisor: float = 100.0

    def __check_init__(self) -> None:
        positive("decay", self.decay)
        positive("divisor", self.divisor)

    def factors(self, arrival: Mapping[str, int], step: Int[Array, ""] | int) -> dict[str, Float[Array, ""]]:
        scale = jnp.expm1(self.decay) / self.divisor  # the sum is 1 / (e^k - 1)
        late = {name: jnp.maximum(step - first, 0) for name, first in arrival.items()}
        return {name: jnp.where(j == 0, 1.0, scale * jnp.exp(-self.decay * j)) for name, j in late.items()}


class Constant(AbstractSchedule):
    """The same factors at every step, by term; 1 for terms that are not named."""

    by_term: Mapping[str, Array | float]

    def factors(self, arrival: Mapping[str, int], step: Int[Array, ""] | int) -> dict[str, Float[Array, ""]]:
        del step
        known("by_term", self.by_term, arrival)
        return {name: jnp.asarray(self.by_term.get(name, 1.0)) for name in arrival}
