"""Competition between the units of one node: winners, inhibition, normalisation, sparsity."""

from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .activation import Activation
from .checks import positive
from .term import AbstractTerm, Coupling


class AbstractLateral(eqx.Module):
    """How the units of a node compete: by another activation of its prediction, or by a term on its states."""

    def activation(self, phi: Activation) -> Activation:
        """Return what stands in the place of the activation (default: the activation itself)."""
        return phi

    def term(self, node: str) -> AbstractTerm | None:
        """Return the term that couples the units of the node (default: none)."""
        del node
        return None


@final
class KWinners(AbstractLateral):
    r"""k winners take all: the largest k predicted units keep their value, the others are predicted to be zero.

    Arguments:
        share: k as a share of the units, at least one unit (default 0.1). Among equal units the first ones win.
    """

    share: float = 0.1

    def __check_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"share must be above 0 and at most 1, got {self.share}.")

    def activation(self, phi: Activation) -> Activation:
        return Winners(phi, self.share)


@final
class DivisiveNormalisation(AbstractLateral):
    r"""Every unit is divided by the activity of all: $\hat x_i = \gamma z_i^n / (\sigma^n + \sum_j z_j^n)$.

    $z = \max(0, Wx + b)$ is the drive, whatever activation the layer had.

    Arguments:
        gain: $\gamma$, above the sum of all predictions (default 1).
        saturation: $\sigma$, the drive at which a single unit is at half of its gain (default 1).
        power: n (default 2, of the order that is measured in visual cortex).

    Source: Heeger (1992); Carandini & Heeger (2012), equation 1.
    """

    gain: float = 1.0
    saturation: float = 1.0
    power: float = 2.0

    def __check_init__(self) -> None:
        for name in ("gain", "saturation", "power"):
            positive(name, getattr(self, name))

    def activation(self, phi: Activation) -> Activation:
        del phi
        return Normalised(self.gain, self.saturation, self.power)


@final
class LateralInhibition(AbstractLateral):
    r"""Active units push each other down: $E = \frac c2 \sum_{i \ne j} [x_i]_+ [x_j]_+$.

    With a Gaussian prediction of precision 1, active units settle where $x_i = \hat x_i - c \sum_{j \ne i} [x_j]_+$.

    Arguments:
        strength: c (default 0.3). Above 1 a single unit survives; below, several do.
    """

    strength: float = 0.3

    def __check_init__(self) -> None:
        positive("strength", self.strength)

    def term(self, node: str) -> AbstractTerm:
        return Coupling(node, Inhibition(self.strength))


@final
class SparsePrior(AbstractLateral):
    r"""A Laplace prior on the states: $E = \lambda \sum_i |x_i|$.

    Arguments:
        weight: $\lambda$ in nats per unit of the state (default 0.1).
    """

    weight: float = 0.1

    def __check_init__(self) -> None:
        positive("weight", self.weight)

    def term(self, node: str) -> AbstractTerm:
        return Coupling(node, Sparsity(self.weight))


class Winners(eqx.Module):
    """The activation, then all units but the largest ones set to zero; gradients pass through the winners alone."""

    phi: Activation
    share: float

    def __call__(self, drive: Float[Array, "*node"]) -> Float[Array, "*node"]:
        values = self.phi(drive)
        _, winners = jax.lax.top_k(values.reshape(-1), max(1, round(self.share * values.size)))
        kept = jnp.zeros(values.size, bool).at[winners].set(True)
        return jnp.where(kept.reshape(values.shape), values, 0)


class Normalised(eqx.Module):
    """The drive, rectified, raised to a power and divided by what all units have together."""

    gain: float
    saturation: float
    power: float

    def __call__(self, drive: Float[Array, "*node"]) -> Float[Array, "*node"]:
        raised = jax.nn.relu(drive) ** self.power
        return self.gain * raised / (self.saturation**self.power + jnp.sum(raised))


class Inhibition(eqx.Module):
    """The energy of units that push each other down; its strength is no trained parameter."""

    strength: float

    def __call__(self, state: Float[Array, "*node"]) -> Float[Array, ""]:
        active = jax.nn.relu(state)
        return 0.5 * self.strength * (jnp.sum(active) ** 2 - jnp.sum(active**2))


class Sparsity(eqx.Module):
    r"""The energy $\lambda \sum_i |x_i|$, whose minimum the solver `LCA` reaches exactly.

    Arguments:
        weight: $\lambda$.
        positive: the solver `LCA` keeps the states at or above zero (default false).
    """

    weight: float
    positive: bool = False

    def __call__(self, state: Float[Array, "*node"]) -> Float[Array, ""]:
        # |x| whose slope at zero is zero, as that of the solver's threshold; JAX gives abs the slope 1 there.
        return self.weight * jnp.sum(state * jax.lax.stop_gradient(jnp.sign(state)))

    def threshold(self, potential: Float[Array, "*node"], factor: float | Array = 1.0) -> Float[Array, "*node"]:
        r"""Return $T_\lambda(u)$: the potential, shrunk towards zero by $\lambda$ times a factor."""
        limit = self.weight * factor
        above = jax.nn.relu(potential - limit)
        return above if self.positive else above - jax.nn.relu(-potential - limit)
