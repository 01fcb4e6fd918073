"""The one relaxation loop. It drives every solver, in every coordinates, over every network."""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ..core import graph
from ..core.checks import at_least
from ..core.clamp import Clamps, whole
from ..core.coordinates import AbstractCoordinates, StateCoordinates
from ..core.initialise import AbstractInitialiser, Forward
from ..core.network import Network
from ..core.term import Prediction
from .backend import convolves, unrolls
from .given import batch_size, key_for
from .objective import Objective, Variables, everywhere, in_waves, norm
from .schedule import AbstractSchedule
from .solver import AbstractSolver

#: Blocks into which the steps of a spreading error are put where they are more than its square.
BLOCKS = 5


class Result(eqx.Enumeration):
    """How a relaxation ended, with the remedy where it failed."""

    stepped = "All steps were taken."
    settled = "The relative residual fell below the tolerance."
    finished = "The solver reached its end."
    unsettled = (
        "The steps ran out before the relative residual fell below the tolerance. "
        "Allow more steps, a larger rate or a larger tolerance."
    )
    diverged = "The states are no longer finite. Lower the state rate or the momentum, or use an adaptive solver."


class Trace(eqx.Module):
    """What was recorded: point t stands before step t, the last point after the last step taken.

    Points that were never reached hold NaN.
    """

    energies: dict[str, Float[Array, "*batch points"]]
    residual: Float[Array, "*batch points"]  # norm of the gradient, not relative


class Relaxation(eqx.Module):
    """Where a relaxation arrived.

    Attributes:
        states: name -> state of every node.
        result: how it ended.
        steps: the number of steps taken.
        residual: relative residual, the norm of the gradient over the free variables at the end divided by its norm
            at the start (0 where there was nothing to relax).
        trace: energies by term and gradient norm at every step, or None.
        untouched: terms whose gradient, in states and weights, is certainly zero at the end.
        constants: predictions that did not depend on free variables, by term.
        errors: errors of Gaussian terms that were variables of the relaxation, by term. They are exact; the difference
            of state and prediction is them but for rounding.
    """

    states: dict[str, Array]
    result: Result
    steps: Int[Array, "*batch"]
    residual: Float[Array, "*batch"]
    trace: Trace | None
    constants: dict[str, Array]
    untouched: frozenset[str] = eqx.field(static=True)
    errors: dict[str, Array] = eqx.field(default_factory=dict)

    def diverged(self) -> Bool[Array, "*batch"]:
        """Say for every sample whether its states are no longer finite."""
        return self.result == Result.diverged


def relax(
    network: Network,
    clamps: Clamps,
    *,
    solver: AbstractSolver,
    steps: int,
    initial: AbstractInitialiser = Forward(),
    coordinates: AbstractCoordinates = StateCoordinates(),
    schedule: AbstractSchedule | None = None,
    tolerance: float | None = None,
    record: bool = False,
    savings: bool = True,
    unroll: bool | None = None,
    key: PRNGKeyArray | None = None,
) -> Relaxation:
    r"""Relax the states of a batch: $x_i \leftarrow$ solver$(\partial E/\partial x_i)$, all free nodes at once.

    Every sample relaxes by itself: rates are per sample, and the batch changes nothing.

    Arguments:
        clamps: node -> values with a leading batch axis (or `Masked` values); the other nodes are free.
        solver: how states move.
        steps: number of steps, or the most steps where the solver or the tolerance ends the relaxation.
        initial: where free nodes start (a `Given` one holds states with a batch axis).
        coordinates: the variables in which the solver works.
        schedule: factors on the energies of the terms, step by step; the residual that is returned belongs to the
            energy without them.
        tolerance: stop a sample once its relative residual is at most this; None takes all steps.
        record: keep energies by term and the gradient norm at every step.
        savings: leave out what is known to be zero or constant. The result is the same, the cost is not.
        unroll: write the steps out instead of looping; None chooses by backend and network.
        key: random key; needed where the solver or the initialiser draws.

    Returns:
        A `Relaxation`, every array with a leading batch axis.

    Raises:
        ValueError: if a clamp names an unknown node or has a wrong shape, if a key is missing, if `steps` is
            negative, or if a schedule meets a tolerance or a solver that ends by itself.

    Cost: one gradient of the energy a step for gradient solvers. Outside `jit` every call compiles its loops again:
        call it as `eqx.filter_jit(relax)(network, clamps, ...)`, or in a function of yours under `eqx.filter_jit`.
    """
    at_least("steps", steps, 0)
    batch = batch_size(network, clamps)
    if schedule is not None and (tolerance is not None or solver.terminates):
        raise ValueError("a schedule needs a fixed number of steps: leave out the tolerance, and use Gradient().")
    drawn = key_for(key, draws=solver.stochastic or initial.stochastic)

    def one(clamps: Clamps, initial: AbstractInitialiser, index: Array) -> Relaxation:
        loop = _Loop(network, clamps, solver, coordinates, steps, schedule, tolerance, record, savings, unroll)
        return loop.run(initial, jax.random.fold_in(drawn, index))

    return eqx.filter_vmap(one)(dict(clamps), initial, jnp.arange(batch))


class _Loop(eqx.Module):
    """The loop for one sample: a plan of objectives, a drive, and what it leaves."""

    network: Network
    clamps: Clamps
    solver: AbstractSolver
    coordinates: AbstractCoordinates
    steps: int
    schedule: AbstractSchedule | None
    tolerance: float | None
    record: bool
    savings: bool
    unroll: bool | None

    def run(self, initial: AbstractInitialiser, key: PRNGKeyArray) -> Relaxation:
        """Initialise, relax, and say how it went."""
        key_initial, key_steps = jax.random.split(key)
        states = initial(self.network, self.clamps, key=key_initial)
        constants = self._constants(states)
        resting = initial.resting_terms(self.network, self.clamps)
        plan, untouched = self._plan(resting, constants)
        variables = self.coordinates.variables(self.network, states, self.clamps, resting)
        open_ended = self.solver.terminates or self.tolerance is not None
        drive = self._drive_until if open_ended else self._drive_all
        first = norm(plan[0].gradient(variables))
        variables, taken, ended, points = drive(plan, variables, first, key_steps)
        energies, gradient = plan[-1].evaluate(variables)
        last = norm(gradient)
        relative = jnp.where(first == 0, 0.0, last / jnp.where(first == 0, 1, first))
        settled = self.coordinates.states(self.network, variables, self.clamps)
        return Relaxation(
            states=settled,
            result=self._result(settled, energies, relative, ended),
            steps=taken,
            residual=relative,
            trace=self._trace(points, taken, energies, last) if self.record else None,
            constants=constants,
            untouched=untouched,
            errors=self.coordinates.errors(self.network, variables, self.clamps),
        )

    def _constants(self, states: Mapping[str, Array]) -> dict[str, Array]:
        if not self.savings:
            return {}
        names = graph.constant_predictions(self.network.terms, whole(self.clamps))
        return self.network.predictions(states, only=names)

    def _plan(self, resting: frozenset[str], constants: Mapping[str, Array]) -> tuple[list[Objective], frozenset[str]]:
        """Return the objective of each step (the last one repeats) and the terms that stay without gradient."""
        terms = self.network.terms
        free = frozenset(self.network.shapes) - whole(self.clamps)
        arguments = (self.network, self.clamps, self.coordinates, constants, free)
        known_length = self.tolerance is None and not self.solver.terminates
        if not (self.savings and self.solver.rests and self.coordinates.local and known_length):
            return [everywhere(*arguments)], frozenset()
        plan = in_waves(*arguments, resting)[: self.steps + 1]
        learning = {name for name, term in graph.predictions(terms).items() if term.density.learns()}
        return plan, frozenset(terms) - plan[-1].active - learning

    def _scheduled(self, objective: Objective, t: Int[Array, ""] | int) -> Objective:
        return objective if self.schedule is None else objective.weighted(self.schedule.factors(self._arrival(), t))

    def _arrival(self) -> dict[str, int]:
        """Return name of term -> step at which it first holds energy, after a forward start."""
        terms = self.network.terms
        free = frozenset(self.network.shapes) - whole(self.clamps)
        resting = Forward().resting_terms(self.network, self.clamps)
        sets = graph.waves(terms, free, frozenset(terms) - resting)
        return {name: next((t for t, active in enumerate(sets) if name in active), len(sets)) for name in terms}

    def _advance(
        self, objective: Objective, variables: Variables, state: Any, key: PRNGKeyArray
    ) -> tuple[Variables, Any, tuple[dict[str, Array], Array]]:
        energies, gradient = objective.evaluate(variables)
        moved, state = self._move(objective, variables, gradient, state, key)
        return moved, state, (energies, norm(gradient))

    def _move(
        self, objective: Objective, variables: Variables, gradient: Variables, state: Any, key: PRNGKeyArray
    ) -> tuple[Variables, Any]:
        moved, state = self.solver.step(objective, variables, gradient, state, key=key)
        if self.solver.rests:
            moved = {n: moved[n] if n in objective.moving else variables[n] for n in variables}
        return moved, state

    def _drive_all(
        self, plan: list[Objective], variables: Variables, first: Array, key: PRNGKeyArray
    ) -> tuple[Variables, Array, Array, Any]:
        """Take all steps, stage by stage: written out, or in a scan."""
        del first
        state = self.solver.init(plan[0], variables)
        parts: list[Any] = []
        points: Any
        for objective, times, looped in self._stages(plan, variables):
            if looped:

                def body(carry: tuple[Variables, Any], t: Array, objective: Objective = objective) -> tuple:
                    scheduled = self._scheduled(objective, t)
                    moved, state, point = self._advance(scheduled, *carry, jax.random.fold_in(key, t))
                    return (moved, state), self._fill(point)

                (variables, state), points = jax.lax.scan(body, (variables, state), jnp.asarray(times))
                parts.append(points)
                continue
            for t in times:
                scheduled = self._scheduled(objective, t)
                variables, state, point = self._advance(scheduled, variables, state, jax.random.fold_in(key, t))
                parts.append(jax.tree.map(lambda leaf: leaf[None], self._fill(point)))
        stacked = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts) if parts else None
        return variables, jnp.asarray(self.steps), jnp.array(False), stacked

    def _stages(self, plan: list[Objective], variables: Variables) -> list[tuple[Objective, range, bool]]:
        """Return (objective, its steps, whether they are looped over): the spreading error, then the rest.

        Where the error spreads over many steps they share objectives: a block of them takes its largest one, whose
        further gradients are zero, and the program does not grow with the square of the depth.
        """
        spreading = len(plan) - 1
        written = self.unroll or spreading <= BLOCKS**2
        written = written or (jax.default_backend() == "cpu" and convolves(plan[-1].energies, variables))
        block = 1 if written else -(-spreading // BLOCKS)
        starts = range(0, spreading, block)
        stages = [(plan[min(s + block, spreading) - 1], range(s, min(s + block, spreading)), block > 1) for s in starts]
        rest = self.steps - spreading
        unroll = unrolls(plan[-1].energies, variables, steps=rest) if self.unroll is None else self.unroll
        return [*stages, (plan[-1], range(spreading, self.steps), not unroll)] if rest > 0 else stages

    def _drive_until(
        self, plan: list[Objective], variables: Variables, first: Array, key: PRNGKeyArray
    ) -> tuple[Variables, Array, Array, Any]:
        """Step until the residual is small, the solver ends, the states blow up, or the steps run out."""
        (objective,) = plan
        tolerance = -1.0 if self.tolerance is None else self.tolerance

        def ends(gradient: Variables, state: Any) -> Bool[Array, ""]:
            size = norm(gradient) if self.tolerance is not None else first
            return (size <= tolerance * first) | ~jnp.isfinite(size) | self.solver.terminate(state)

        def unfinished(carry: tuple) -> Bool[Array, ""]:
            t, ended = carry[:2]
            return (t < self.steps) & ~ended

        def body(carry: tuple) -> tuple:
            # The gradient that decides whether to stop is the one that the next step descends: it is carried along.
            t, _, variables, gradient, state, buffer = carry
            moved, state = self._move(objective, variables, gradient, state, jax.random.fold_in(key, t))
            energies, ahead = objective.evaluate(moved)
            buffer = jax.tree.map(lambda b, p: b.at[t + 1].set(p), buffer, self._fill((energies, norm(ahead))))
            return t + 1, ends(ahead, state), moved, ahead, state, buffer

        state = self.solver.init(objective, variables)
        energies, gradient = objective.evaluate(variables)
        point = self._fill((energies, norm(gradient)))
        buffer = jax.tree.map(lambda p: jnp.full((self.steps + 1, *p.shape), jnp.nan, p.dtype).at[0].set(p), point)
        start = (jnp.asarray(0), ends(gradient, state), variables, gradient, state, buffer)
        taken, ended, variables, _, _, buffer = jax.lax.while_loop(unfinished, body, start)
        return variables, taken, ended, jax.tree.map(lambda p: p[:-1], buffer)

    def _fill(self, point: tuple[dict[str, Array], Array]) -> tuple[dict[str, Array], Array] | None:
        """Give terms that were left out the energy that they have at rest, so that every point has the same shape."""
        if not self.record:
            return None
        energies, size = point
        return {name: energies[name] if name in energies else self._resting(name) for name in self.network.terms}, size

    def _resting(self, name: str) -> Array:
        """Return the energy of a prediction without error: zero, or the log-normaliser of a learned precision."""
        term = self.network.terms[name]
        if not (isinstance(term, Prediction) and term.density.learns()):
            return jnp.zeros((), self.network.dtype)
        state = jnp.zeros(self.network.shapes[term.target], self.network.dtype)
        return term.density.energy(state, state)

    def _trace(self, points: Any, taken: Array, energies: dict[str, Array], last: Array) -> Trace:
        final = self._fill((energies, last))
        if points is None:
            points = jax.tree.map(lambda leaf: jnp.zeros((0, *leaf.shape)), final)
        padded = jax.tree.map(lambda p: jnp.concatenate([p, jnp.full((1,), jnp.nan, p.dtype)]), points)
        by_term, size = jax.tree.map(lambda p, f: p.at[taken].set(f), padded, final)
        return Trace(by_term, size)

    def _result(self, states: Mapping[str, Array], energies: Mapping[str, Array], relative: Array, ended: Array) -> Any:
        kinds: Any = Result  # its members are not strings, whatever a type checker thinks
        # States near the largest number may be finite, their energy is not; and a state that is not finite shows in the
        # energy of its prediction, so that only nodes without one are looked at. (The gradient would cost a pass.)
        finite = jnp.isfinite(sum(energies.values(), start=jnp.zeros(())))
        seen = {term.target for name, term in graph.predictions(self.network.terms).items() if name in energies}
        for name in sorted(set(states) - seen - whole(self.clamps)):
            finite &= jnp.all(jnp.isfinite(states[name]))
        if self.tolerance is None and not self.solver.terminates:
            outcome = kinds.stepped
        else:
            small = relative <= (-1.0 if self.tolerance is None else self.tolerance)
            by_itself = kinds.where(ended, kinds.finished, kinds.unsettled)
            outcome = kinds.where(small, kinds.settled, by_itself)
        return kinds.where(finite, outcome, kinds.diverged)
