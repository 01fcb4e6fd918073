"""Relaxation that goes with time: the states of one step at a time, with the past held where it settled."""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from ..core import graph
from ..core.clamp import Clamps
from ..core.network import Network
from ..core.recurrent import EachStep, LastStep, Recurrent
from ..core.term import AbstractTerm, Prediction
from .given import batch_size, key_for
from .relax import Relaxation, Result, relax
from .solver import AbstractSolver

#: A node's context in the network of one step: what it remembers of the steps before.
PREVIOUS = "previous {}"


class _Step(eqx.Module):
    """The prediction of one step: a cell as a function of its inputs and its context."""

    function: Recurrent

    def __call__(self, *sources: Array) -> Array:
        *inputs, context = sources
        return self.function.cell(self.function.cell.drive(*inputs), context)


def recurrent_terms(network: Network) -> dict[str, Prediction]:
    """Return the terms that predict a sequence from its own past, by name."""
    return {n: t for n, t in graph.predictions(network.terms).items() if isinstance(t.function, Recurrent)}


def sequences(network: Network) -> frozenset[str]:
    """Return the nodes whose states are sequences: what recurrent terms and readouts at each step touch."""
    found: set[str] = set()
    for term in graph.predictions(network.terms).values():
        if isinstance(term.function, Recurrent | EachStep):
            found |= set(term.nodes)
        elif isinstance(term.function, LastStep):
            found |= set(term.sources)
    return frozenset(found)


def step_network(network: Network, *, last: bool) -> Network:
    r"""Return the network of one step: each recurrent node h is predicted from a node `previous h`, which is clamped.

    $$E_t = \sum_k E_k\big(h_t, \mathrm{cell}(x_t, c_t)\big) + \ldots$$

    Its energy is what the energy of the whole sequence holds for one step, given the past.

    Arguments:
        last: keep what the sequence ends in (readouts of the last step and everything behind them).

    Raises:
        ValueError: if a term reads a sequence in another way than step by step or at its end.
    """
    along = sequences(network)
    nodes = {n: shape[1:] if n in along else shape for n, shape in network.node_shapes}
    terms: dict[str, AbstractTerm] = {}
    for name, term in network.terms.items():
        if isinstance(term, Prediction) and isinstance(term.function, Recurrent):
            previous = PREVIOUS.format(term.target)
            nodes[previous] = nodes[term.target]
            terms[name] = Prediction(term.target, (*term.needs, previous), _Step(term.function), term.density)
        elif isinstance(term, Prediction) and isinstance(term.function, EachStep | LastStep):
            if last or isinstance(term.function, EachStep):
                terms[name] = Prediction(term.target, term.sources, term.function.layer, term.density)
        elif whole := sorted(along.intersection(term.nodes)):
            raise ValueError(
                f"term '{name}' reads the sequence '{whole[0]}' as a whole, which has no steps to be relaxed one by "
                "one: make it a prediction by Recurrent, EachStep or LastStep, or use relax() on the whole sequence."
            )
        elif last:
            terms[name] = term
    used = {node for term in terms.values() for node in term.nodes}
    return Network({n: shape for n, shape in nodes.items() if n in used}, terms)


def track(
    network: Network, clamps: Clamps, *, solver: AbstractSolver, steps: int, key: PRNGKeyArray | None = None
) -> Relaxation:
    r"""Relax the states of one step after the other: at each time the nodes of that time, with the past clamped.

    $$h_t = \arg\min_{h} E_t(h;\, c_t), \qquad c_{t+1} = \alpha c_t + h_t$$

    This is a filter: a state is never revised by what comes later. `relax` on the same network is the smoother, which
    moves the states of all steps together. A network without recurrent terms has one step, and is relaxed as it is.

    Arguments:
        clamps: node -> values with a leading batch axis; sequences have their steps on the second.
        solver: how states move.
        steps: relaxation steps at each time, from the prediction on.
        key: needed where the solver draws.

    Returns:
        A relaxation whose states are sequences, a state of the network; its residual is the largest over time.

    Raises:
        ValueError: if a clamp names an unknown node or has a wrong shape, a key is missing, the sequences have
            different lengths, or a term reads a sequence in another way than step by step or at its end.

    Cost: `steps` gradients of the energy, each in as many parts as there are times.

    Source: Millidge et al. (2024), temporal predictive coding.
    """
    recurrent: dict[str, Any] = {term.target: term.function for term in recurrent_terms(network).values()}
    if not recurrent:
        return relax(network, clamps, solver=solver, steps=steps, key=key)
    along = sequences(network)
    batch, length = batch_size(network, clamps), _length(network, along)
    timed, fixed = ({n: c for n, c in clamps.items() if (n in along) == inside} for inside in (True, False))
    timed = jax.tree.map(lambda values: jnp.swapaxes(values, 0, 1), timed)
    keys = jax.random.split(key_for(key, draws=solver.stochastic), length)

    def one(contexts: Mapping[str, Array], now: tuple[Clamps, PRNGKeyArray], last: bool) -> tuple[dict, Relaxation]:
        model = step_network(network, last=last)
        given, key = now
        held = {**given, **(fixed if last else {}), **{PREVIOUS.format(n): c for n, c in contexts.items()}}
        known = {name: clamp for name, clamp in held.items() if name in model.shapes}
        end = relax(model, known, solver=solver, steps=steps, key=key)
        return {n: recurrent[n].advance(c, end.states[n]) for n, c in contexts.items()}, end

    contexts = {n: jnp.zeros((batch, *network.shapes[n][1:]), network.dtype) for n in recurrent}
    before = jax.tree.map(lambda values: values[:-1], (timed, keys))
    contexts, ends = jax.lax.scan(lambda c, now: one(c, now, False), contexts, before)
    _, end = one(contexts, jax.tree.map(lambda values: values[-1], (timed, keys)), True)
    return _joined(network, ends, end, along)


def _length(network: Network, along: frozenset[str]) -> int:
    """Return the number of steps of the sequences.

    Raises:
        ValueError: if the sequences have different lengths.
    """
    lengths = {network.shapes[name][0] for name in along}
    if len(lengths) != 1:
        raise ValueError(f"the sequences of a network must have one length, got {sorted(lengths)}.")
    return lengths.pop()


def _joined(network: Network, ends: Relaxation, end: Relaxation, along: frozenset[str]) -> Relaxation:
    """Return the relaxations of all times as one, with sequences in the place of states."""

    def sequence(name: str) -> Array:
        return jnp.swapaxes(jnp.concatenate([ends.states[name], end.states[name][None]]), 0, 1)

    states = {name: sequence(name) if name in along else end.states[name] for name in network.shapes}
    bad = jnp.any(ends.diverged(), axis=0) | end.diverged()
    kinds: Any = Result  # its members are not strings, whatever a type checker thinks
    return Relaxation(
        states=states,
        result=jax.vmap(lambda failed, result: kinds.where(failed, kinds.diverged, result))(bad, end.result),
        steps=jnp.sum(ends.steps, axis=0) + end.steps,
        residual=jnp.maximum(jnp.max(ends.residual, axis=0), end.residual),
        trace=None,
        constants={},
        untouched=frozenset(),
    )
