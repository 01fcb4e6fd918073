r"""Nudged predictive coding: the output is drawn a part of the way towards, or away from, the label."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..core.clamp import Clamps, value
from ..core.network import Network
from ..inference.relax import relax
from ..inference.solver import AbstractSolver
from ..learning.energy_gradient import settled_gradient
from .contract import Signal, forward_outputs, require_output, require_whole


class Nudge(eqx.Module):
    r"""Strength of the nudge: $\beta_e = \beta + \rho\, e$ in epoch e, at most 1 (where it is a full clamp).

    Arguments:
        beta: strength in the first epoch, in (0, 1] (default 0.5).
        ramp: $\rho$, added each epoch (default 0; the benchmark uses 0 or 0.02).

    Raises:
        ValueError: if beta is not in (0, 1] or the ramp is negative.
    """

    beta: float = 0.5
    ramp: float = 0.0

    def __check_init__(self) -> None:
        if not 0 < self.beta <= 1:
            raise ValueError(f"beta must be in (0, 1], got {self.beta}; the algorithm chooses the sign.")
        if self.ramp < 0:
            raise ValueError(f"ramp must not be negative, got {self.ramp}.")

    def strength(self, epoch: Int[Array, ""] | int) -> Float[Array, ""]:
        r"""Return $|\beta_e|$."""
        return jnp.minimum(self.beta + self.ramp * epoch, 1.0)


def nudged_target(
    output: Float[Array, "batch *output"],
    target: Float[Array, "batch *output"],
    beta: Float[Array, ""] | float,
) -> Float[Array, "batch *output"]:
    r"""Return $u_0 + \beta\,(y - u_0)$, with $u_0$ the output of the forward pass; it stays fixed."""
    return output + beta * (target - output)


def nudged_signal(
    network: Network,
    batch: Clamps,
    *,
    beta: Float[Array, ""] | float,
    solver: AbstractSolver,
    steps: int,
    record: bool = False,
    key: PRNGKeyArray,
) -> Signal:
    r"""Relax towards the nudged target and return the weight gradient divided by $\beta$."""
    output = require_output(network)
    require_whole({output: batch[output]}, "A nudge")
    target = nudged_target(forward_outputs(network, batch), value(batch[output]), beta)
    relaxation = relax(network, dict(batch) | {output: target}, solver=solver, steps=steps, record=record, key=key)
    gradient, energies = settled_gradient(network, relaxation)
    return Signal(jax.tree.map(lambda leaf: leaf / beta, gradient), energies, relaxation)
