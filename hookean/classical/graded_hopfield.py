r"""Graded Hopfield networks: a coupling in a network like any other, relaxed by the loop like any other."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ..core.checks import positive
from ..core.network import Network
from ..core.term import Coupling
from ..inference.objective import Objective, Variables
from ..inference.solver import AbstractSolver
from .symmetric import Symmetric


@jax.custom_jvp
def output(u: Float[Array, "*n"]) -> Float[Array, "*n"]:
    r"""Return $V = \tanh u$ with a slope that keeps its digits where tanh has reached 1."""
    return jnp.tanh(u)


@jax.custom_jvp
def leak(u: Float[Array, "*n"]) -> Float[Array, "*n"]:
    r"""Return $\int_0^V \mathrm{artanh}\,v\,dv = u\tanh u - \ln\cosh u$ with $V = \tanh u$."""
    size = jnp.abs(u)
    return u * jnp.tanh(u) - (size + jnp.log1p(jnp.exp(-2 * size)) - jnp.log(2.0))


def slope(u: Float[Array, "*n"]) -> Float[Array, "*n"]:
    r"""Return $\tanh' u = 4e^{-2|u|}/(1 + e^{-2|u|})^2$: never zero where $1 - \tanh^2 u$ would be, up to |u| of 40."""
    small = jnp.exp(-2 * jnp.abs(u))
    return 4 * small / jnp.square(1 + small)


@output.defjvp
def _output_slope(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    return output(primals[0]), slope(primals[0]) * tangents[0]


@leak.defjvp
def _leak_slope(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    return leak(primals[0]), primals[0] * slope(primals[0]) * tangents[0]


class Graded(eqx.Module):
    r"""$E(u) = -\frac12 V^\top W V - b^\top V + \sum_i \int_0^{V_i} g^{-1}(v)\,dv$, $V = g(u) = \tanh(\lambda u)$."""

    coupling: Symmetric
    gain: float = eqx.field(static=True)

    def __call__(self, u: Float[Array, "n"]) -> Float[Array, ""]:
        return self.coupling.energy(output(self.gain * u)) + jnp.sum(leak(self.gain * u)) / self.gain


def graded_hopfield(coupling: Symmetric, *, gain: float = 1.0) -> Network:
    r"""Build a Hopfield network of graded units with potentials u and outputs $V = \tanh(\lambda u)$.

    Relax it with `HopfieldFlow` for Hopfield's own equation, or with any other solver: the fixed points are the same.
    Its node is that of the coupling. For $\lambda \to \infty$ the minima are those of the binary network.

    Arguments:
        coupling: weights and bias, from a storage rule.
        gain: $\lambda$ (default 1). Zero is the only fixed point while $\lambda$ times the largest eigenvalue of W is
            below 1.

    Source: Hopfield (1984), eq. 7, with the resistance 1.
    """
    positive("gain", gain)
    return Network({coupling.nodes[0]: coupling.size}, {"memory": Coupling(coupling.nodes, Graded(coupling, gain))})


class HopfieldFlow(AbstractSolver):
    r"""Euler steps of $\tau\dot u = WV + b - u = -\partial E/\partial V$: the gradient in u divided by the slope of
    the output.

    $\dot E = -\sum_i g'(u_i)\,\dot u_i^2 \le 0$. Every free node must consist of potentials with the same gain.

    Arguments:
        rate: the step $dt/\tau$ (default 0.1; below 1 for stability against the leak).
        gain: $\lambda$ of the units (default 1).

    Cost: one gradient of the energy a step.

    Source: Hopfield (1984), eq. 5 and 9.
    """

    rate: float = 0.1
    gain: float = 1.0
    rests = True
    terminates = False
    stochastic = False

    def __check_init__(self) -> None:
        positive("rate", self.rate)
        positive("gain", self.gain)

    def init(self, objective: Objective, variables: Variables) -> Any:
        del objective, variables
        return ()

    def step(
        self, objective: Objective, variables: Variables, gradient: Variables, state: Any, *, key: PRNGKeyArray
    ) -> tuple[Variables, Any]:
        del objective, key
        moved = {}
        for name, u in variables.items():
            steep = self.gain * slope(self.gain * u)
            # Beyond the range of the numbers the slope is zero and so is the gradient: such a unit stays.
            velocity = -gradient[name] / jnp.where(steep == 0, 1, steep)
            moved[name] = u + self.rate * velocity
        return moved, state

    def terminate(self, state: Any) -> Bool[Array, ""]:
        del state
        return jnp.array(False)
