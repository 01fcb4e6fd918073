"""How far inference came, and how close the weight gradient is to backpropagation's; on one fixed batch."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ..algorithms.contract import AbstractAlgorithm
from ..core import graph
from ..core.clamp import Clamps, whole
from ..core.coordinates import StateCoordinates
from ..core.network import Network
from ..inference.objective import everywhere, norm
from ..learning.backprop import backprop


def measure(
    algorithm: AbstractAlgorithm, network: Network, batch: Clamps, *, epoch: Any, key: PRNGKeyArray, memory: Any = None
) -> dict[str, Any]:
    """Return the evidence as a tree of arrays.

    Arguments:
        memory: the algorithm's memory (`TrainState.memory`), for algorithms that have one.

    Entries:
        residual: batch median of the relative residual at the last step, in the variables that the solver moves
            (absent without a relaxation).
        state_residual: batch median of the norm of the energy's gradient in the states where the weights learn, divided
            by its norm at the forward states; the same measure for every algorithm with inference (absent where the
            graph has a cycle).
        cosine, norm_ratio: by term, of the weight gradient with backpropagation's on the same batch (absent where the
            graph has a cycle or nothing predicts the output).
        energies: batch mean by term in nats where the weights learn.
        trace: energies by term and relative gradient norm at every relaxation step, batch means.
        errors: prediction errors by term for every sample (absent without inference).
    """
    signal = algorithm.remembered_signal(memory, network, batch, epoch=epoch, key=key, record=True)
    found: dict[str, Any] = {"energies": signal.energies}
    _, cyclic = graph.forward_order(network.terms, batch)
    # Backpropagation's gradient is that of the outputs of a forward pass: without either there is none to compare with.
    forward = not cyclic and any(t.target == network.output for t in graph.predictions(network.terms).values())
    if forward:
        reference, _ = backprop(network, batch)
        pairs = dict(
            zip(network.term_names, zip(signal.gradient.term_list, reference.term_list, strict=True), strict=True)
        )
        found["cosine"] = {name: _cosine(*pair) for name, pair in pairs.items() if jax.tree.leaves(pair[1])}
        found["norm_ratio"] = {name: _ratio(*pair) for name, pair in pairs.items() if jax.tree.leaves(pair[1])}
    settled = signal.settled()
    if settled is not None and forward:
        found["state_residual"] = jnp.median(state_residual(signal.network or network, batch, settled))
    if signal.relaxation is not None:
        found["residual"] = jnp.median(signal.relaxation.residual)
        found["errors"] = jax.vmap(network.errors)(signal.relaxation.states)
        trace = signal.relaxation.trace
        if trace is not None:
            first = trace.residual[:, :1]
            relative = jnp.where(first > 0, trace.residual / jnp.where(first > 0, first, 1), 0)
            found["trace"] = {
                "energies": {name: jnp.nanmean(values, axis=0) for name, values in trace.energies.items()},
                "residual": jnp.nanmean(relative, axis=0),
            }
    return found


def state_residual(network: Network, batch: Clamps, settled: dict[str, Array]) -> Float[Array, "batch"]:
    """Return the norm of the energy's gradient in the free states, relative to its norm at the forward states."""

    def one(clamps: Clamps, states: dict[str, Array]) -> Float[Array, ""]:
        free = frozenset(network.shapes) - whole(clamps)
        objective = everywhere(network, clamps, StateCoordinates(), {}, free)
        ends = (StateCoordinates().variables(network, s, clamps) for s in (network.forward(clamps), states))
        first, last = (norm(objective.gradient(variables)) for variables in ends)
        return jnp.where(first > 0, last / jnp.where(first > 0, first, 1), 0)

    return eqx.filter_vmap(one)(dict(batch), settled)


def plain(found: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON part of the evidence as numbers."""
    kept = {name: value for name, value in found.items() if name not in ("errors", "trace")}
    return jax.tree.map(float, kept)


def plain_trace(found: dict[str, Any]) -> dict[str, Any] | None:
    """Return the trace as lists: {"steps", "energies", "residual"}; None without inference."""
    if "trace" not in found:
        return None
    trace = jax.tree.map(lambda values: [float(v) for v in np.asarray(values)], found["trace"])
    return {"steps": list(range(len(trace["residual"])))} | trace


def _flat(tree: Any) -> Float[Array, "n"]:
    return jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def _cosine(gradient: Any, reference: Any) -> Float[Array, ""]:
    a, b = _flat(gradient), _flat(reference)
    size = jnp.linalg.norm(a) * jnp.linalg.norm(b)
    return jnp.where(size > 0, jnp.sum(a * b) / jnp.where(size > 0, size, 1), 0.0)


def _ratio(gradient: Any, reference: Any) -> Float[Array, ""]:
    size = jnp.linalg.norm(_flat(reference))
    return jnp.where(size > 0, jnp.linalg.norm(_flat(gradient)) / jnp.where(size > 0, size, 1), 0.0)
