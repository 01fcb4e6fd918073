"""Locally competitive algorithm: units with a sparse prior are thresholded potentials."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, PRNGKeyArray

from ..core.checks import positive
from ..core.lateral import Sparsity
from ..core.term import Coupling
from .objective import Objective, Variables
from .solver import AbstractSolver


class LCA(AbstractSolver):
    r"""Nodes with a `Sparsity` term follow a potential u; all other nodes descend the gradient.

    $u \leftarrow u + \eta\,(a - u - \partial E_s/\partial a)$, $a = T_\lambda(u)$, where $E_s$ is the energy without
    the sparse term. With $\hat s = \Phi a$ this is $\tau\dot u = \Phi^\top s - u - (\Phi^\top\Phi - I)\,a$: units whose
    features overlap inhibit each other. It comes to rest at the minimum of $E_s + \lambda\lVert a\rVert_1$, the lasso,
    with exact zeros, where a gradient step goes back and forth across zero for ever.

    Arguments:
        rate: $\eta$, time step over time constant (default 0.05). Stable below 2 over the largest eigenvalue of
            $\partial^2 E_s/\partial a^2$, if all units were active.

    Cost: one gradient of the energy a step.

    Source: Rozell et al., Neural Computation 20 (2008), equation 5, with the soft threshold.
    """

    rate: float | Array = 0.05
    rests = True  # a node with a sparse term is always among those that move
    terminates = False
    stochastic = False

    def __check_init__(self) -> None:
        positive("rate", self.rate)

    def init(self, objective: Objective, variables: Variables) -> Any:
        sparse = _sparse(objective)
        return {
            name: variables[name] + term.weight * f * jnp.sign(variables[name]) for name, (term, f) in sparse.items()
        }

    def step(
        self,
        objective: Objective,
        variables: Variables,
        gradient: Variables,
        state: Any,
        *,
        key: PRNGKeyArray,
    ) -> tuple[Variables, Any]:
        del key
        moved = {name: value - self.rate * gradient[name] for name, value in variables.items()}
        potentials = {}
        for name, (term, factor) in _sparse(objective).items():
            active = variables[name]
            smooth = gradient[name] - term.weight * factor * jnp.sign(active)
            potentials[name] = state[name] + self.rate * (active - state[name] - smooth)
            moved[name] = term.threshold(potentials[name], factor)
        return moved, potentials

    def terminate(self, state: Any) -> Bool[Array, ""]:
        del state
        return jnp.array(False)


def _sparse(objective: Objective) -> dict[str, tuple[Sparsity, Any]]:
    """Return free node -> (its sparse term, the factor that a schedule puts on it)."""
    found = {}
    for name, term in objective.network.terms.items():
        if isinstance(term, Coupling) and isinstance(term.function, Sparsity) and term.nodes[0] in objective.moving:
            found[term.nodes[0]] = (term.function, objective.factors.get(name, 1.0))
    return found
