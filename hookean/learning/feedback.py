r"""Backward passes through other matrices than the transposed weights: feedback alignment, layer by layer or direct."""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..core import graph
from ..core.clamp import Clamps
from ..core.layers import Dense
from ..core.network import Network
from ..core.term import Prediction
from .batch import mean_gradient


@jax.custom_vjp
def route(matrix: Float[Array, "m n"], source: Float[Array, "n"]) -> Float[Array, "m"]:
    """Return zeros whose cotangent g arrives at `source` as `matrix.T @ g`: a wire that carries errors alone."""
    return _silent(matrix, source)


def _silent(matrix: Float[Array, "m n"], source: Float[Array, "n"]) -> Float[Array, "m"]:
    # The zeros are made from the source: constants would be shared by all samples of a batch, and so would errors.
    return jnp.broadcast_to(0 * source[0], (matrix.shape[0],))


def _route_forward(matrix: Float[Array, "m n"], source: Float[Array, "n"]) -> tuple[Array, Array]:
    # Not `route` itself: along a direction, as for a curvature, the gradient is differentiated forwards.
    return _silent(matrix, source), matrix


def _route_backward(matrix: Float[Array, "m n"], error: Float[Array, "m"]) -> tuple[Array, Array]:
    return jnp.zeros_like(matrix), matrix.T @ error


route.defvjp(_route_forward, _route_backward)


#: Sets feedback's keys apart from those of weights: `fold_in(key, i)` is `split(key, n)[i]`, which builders draw from.
_APART = 0xFEEDBAC


def feedback_keys(key: PRNGKeyArray, number: int) -> Sequence[PRNGKeyArray]:
    """Return one key per feedback matrix, none of which a builder draws weights from where it is given the same key."""
    return list(jax.random.split(jax.random.fold_in(key, _APART), number))


def dense_chain(network: Network, rule: str) -> list[Prediction]:
    """Return the terms of a chain of dense layers from the input to the output, in order.

    Raises:
        ValueError: if the network is anything else, naming `rule`, which needs the chain.
    """
    chain = graph.chain(network.terms, network.input, network.output)
    terms = network.terms
    if chain is None or not all(isinstance(graph.predictions(terms)[name].function, Dense) for name in chain):
        raise ValueError(
            f"{rule} needs a chain of dense layers from the input to the output, as mlp builds it, "
            f"got the terms {', '.join(network.term_names)}. Use BP or PC for other networks."
        )
    return [graph.predictions(terms)[name] for name in chain]


def feedback_gradient(
    network: Network, batch: Clamps, feedback: Mapping[str, Float[Array, "..."]], *, direct: bool
) -> tuple[PyTree, dict[str, Float[Array, ""]]]:
    r"""Return the weight gradient with errors carried by `feedback`, and the mean energy of each term.

    With $z_l = W_l h_{l-1} + b_l$, $h_l = \phi(z_l)$ and $\delta_L = \partial E/\partial z_L$, hidden errors are
    $\delta_l = (B_{l+1}^\top\delta_{l+1}) \odot \phi'(z_l)$, or directly $(B_l^\top\delta_L) \odot \phi'(z_l)$, and
    the gradient of $W_l$ is the batch mean of $\delta_l h_{l-1}^\top$.

    Arguments:
        batch: the input and the output node -> values with a leading batch axis.
        feedback: hidden node -> B, shaped (units of the node that sends the error, units of this node). The sender is
            the next node, or the output where the feedback is direct.
        direct: whether errors come straight from the output.

    Cost: one forward pass and one pass back through the feedback.
    """

    def energies(model: Network, sample: Clamps) -> dict[str, Float[Array, ""]]:
        return _energies(model, sample, feedback, direct)

    return mean_gradient(energies, network, dict(batch))


def _energies(
    network: Network, sample: Clamps, feedback: Mapping[str, Array], direct: bool
) -> dict[str, Float[Array, ""]]:
    """Return the energies of the forward states, with every wire for errors replaced by the feedback."""
    chain = graph.chain(network.terms, network.input, network.output) or []
    state: Array = sample[network.input]  # type: ignore[index, assignment]
    states: dict[str, Array] = {}
    found = {}
    for name in chain:
        term = graph.predictions(network.terms)[name]
        layer = term.function
        assert isinstance(layer, Dense)
        drive = layer.linear(jax.lax.stop_gradient(state).reshape(-1))
        last = term.target == network.output
        senders = dict(states) if direct and last else {} if direct else {n: states[n] for n in list(states)[-1:]}
        for node, sender in senders.items():
            drive = drive + route(feedback[node], sender)
        state = layer.activation(drive)
        states[term.target] = state
        target = sample[term.target] if last else term.density.mean(state)
        found[name] = term.density.energy(target, state)  # type: ignore[arg-type]
    return {name: found[name] for name in network.term_names}
