r"""Gauss-Newton in output space: the equilibrium in a few passes, at any depth, without a rate to tune."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PRNGKeyArray

from ..core import graph
from ..core.checks import at_least
from ..core.clamp import whole
from ..core.coordinates import ErrorCoordinates
from ..core.density import Gaussian
from ..core.edges import SparseEdges
from ..core.term import Prediction
from .line_search import shortened
from .objective import Objective, Variables, add, dot
from .solver import AbstractSolver


class GaussNewton(AbstractSolver):
    r"""Gauss-Newton steps on the prediction errors, each solved in the space of the outputs.

    In error coordinates the energy is $\frac12 e^\top D e + \ell(\hat y(e))$ with D the precisions of the free nodes.
    With J the Jacobian of the clamped terms' predictions, $RR^\top$ the curvature of $\ell$ in them, $A = R^\top J$
    and g the gradient, one step is

    $$e \leftarrow e - D^{-1}g + D^{-1}A^\top w, \qquad (I + A D^{-1}A^\top)\, w = A D^{-1} g .$$

    The system has as many unknowns as the network has outputs. Conjugate gradients solve it; each iteration sends one
    signal forward and one backward through the network, so the passes of a step do not grow with depth. In a linear
    network with squared errors and as many iterations as outputs, one step lands on the equilibrium.

    Arguments:
        iterations: conjugate-gradient iterations of a step (default 2).
        damping: $\mu \ge 0$, puts $(1 + \mu) D$ in the place of D in the step (Levenberg; default 0).
        halvings: most times that a step which raises the energy of its sample is halved (default 0: steps are not
            looked at; each look costs a forward pass).

    Raises:
        ValueError: outside error coordinates, or where a free node has no Gaussian prediction of its own, or where a
            term is no prediction, or its couplings are a list of edges.

    Cost: 2 (iterations + 1) passes a step, the gradient included.

    Source: this project. Woodbury's identity makes the step of Gauss-Newton as cheap as the number of outputs.
    """

    iterations: int = 2
    damping: float = 0.0
    halvings: int = 0
    rests = False  # errors reach every node in one step
    terminates = False
    stochastic = False

    @property
    def passes(self) -> int:
        return 2 * (self.iterations + 1)

    def __check_init__(self) -> None:
        at_least("iterations", self.iterations, 1)
        at_least("halvings", self.halvings, 0)
        if not (math.isfinite(self.damping) and self.damping >= 0):
            raise ValueError(f"damping must be a number that is not negative, got {self.damping}.")

    def init(self, objective: Objective, variables: Variables) -> Any:
        _split(objective)
        return ()

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
        move = self._direction(objective, variables, gradient)
        if self.halvings:
            move = shortened(objective, variables, move, self.halvings)
        return add(variables, 1.0, move), state

    def terminate(self, state: Any) -> Bool[Array, ""]:
        del state
        return jnp.array(False)

    def _direction(self, objective: Objective, variables: Variables, gradient: Variables) -> Variables:
        owners, clamped = _split(objective)
        terms = graph.predictions(objective.network.terms)
        free = {node: terms[name] for node, name in owners.items()}

        def weak(signal: Variables) -> Variables:
            """Apply the inverse of the (damped) precisions."""
            stiff = {n: (1 + self.damping) * objective.factors.get(owners[n], 1.0) for n in free}
            soft = {n: _gaussian(t).precision.solve(signal[n]) / stiff[n] for n, t in free.items()}
            return {n: value.astype(signal[n].dtype) for n, value in soft.items()}

        def drives(variables: Variables) -> dict[str, Array]:
            states = objective.coordinates.states(objective.network, variables, objective.clamps)
            return {name: term.predict(states) for name, term in clamped.items()}

        predicted, push = jax.linearize(drives, variables)
        pull = jax.linear_transpose(push, variables)

        def root(signal: dict[str, Array]) -> dict[str, Array]:
            factor = {n: objective.factors.get(n, 1.0) ** 0.5 for n in clamped}
            roots = {n: factor[n] * t.density.curvature_root(predicted[n], signal[n]) for n, t in clamped.items()}
            return {n: value.astype(signal[n].dtype) for n, value in roots.items()}

        def ahead(signal: Variables) -> dict[str, Array]:
            """Apply A: forward through the network, then the transposed root."""
            return jax.linear_transpose(root, predicted)(push(signal))[0]

        def back(signal: dict[str, Array]) -> Variables:
            """Apply the transpose of A."""
            return pull(root(signal))[0]

        step = weak(gradient)
        residual = direction = ahead(step)
        move = {name: -value for name, value in step.items()}
        size = dot(residual, residual)
        for i in range(self.iterations):
            signal = back(direction)
            answer = weak(signal)
            # The curvature along a direction needs no pass forward: w^T A D^-1 A^T w is a square of what came back.
            curvature = dot(direction, direction) + dot(signal, answer)
            length = jnp.where(curvature > 0, size / jnp.where(curvature > 0, curvature, 1), 0)
            move = add(move, length, answer)
            if i + 1 < self.iterations:
                residual = add(add(residual, -length, direction), -length, ahead(answer))
                smaller = dot(residual, residual)
                turn = jnp.where(size > 0, smaller / jnp.where(size > 0, size, 1), 0)
                direction, size = add(residual, turn, direction), smaller
        return move


def _split(objective: Objective) -> tuple[dict[str, str], dict[str, Prediction]]:
    """Return (free node -> name of the term whose error is its variable, name -> term with a clamped target)."""
    if not isinstance(objective.coordinates, ErrorCoordinates):
        raise ValueError("GaussNewton works on prediction errors: it needs coordinates=ErrorCoordinates().")
    terms = objective.network.terms
    found = graph.predictions(terms)
    if len(found) < len(terms):
        raise ValueError("GaussNewton needs terms that are predictions; for couplings use Newton().")
    compressed = lambda leaf: isinstance(leaf, SparseEdges)  # noqa: E731
    if any(compressed(leaf) for leaf in jax.tree.leaves(found, is_leaf=compressed)):
        raise ValueError("GaussNewton needs dense couplings: build the graph with sparse=False, or use Newton().")
    order, _ = graph.forward_order(terms, objective.clamps)
    free = {found[name].target: name for name in order}
    held = whole(objective.clamps)
    without = sorted(set(objective.network.shapes) - held - set(free))
    if without:
        raise ValueError(f"GaussNewton needs a prediction of every free node, but nothing predicts {without}.")
    not_gaussian = sorted(node for node, name in free.items() if not isinstance(found[name].density, Gaussian))
    if not_gaussian:
        raise ValueError(f"GaussNewton needs Gaussian predictions of free nodes, but not so: {not_gaussian}.")
    rest = {name: term for name, term in found.items() if name not in order}
    twice = sorted(term.target for term in rest.values() if term.target not in held)
    if twice:
        raise ValueError(f"GaussNewton needs one prediction for each free node, but two terms predict {twice}.")
    return free, rest


def _gaussian(term: Prediction) -> Gaussian:
    assert isinstance(term.density, Gaussian)
    return term.density
