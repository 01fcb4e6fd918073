r"""Real-time recurrent learning: the gradient of a sequence carried forward in time. An oracle for going back in it."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..core import graph
from ..core.clamp import Clamps
from ..core.network import Network
from ..core.parameters import split
from ..core.recurrent import Recurrent
from ..core.term import Prediction
from .backprop import backprop


def rtrl(network: Network, clamps: Clamps) -> tuple[PyTree, dict[str, Float[Array, ""]]]:
    r"""Return what `backprop` returns for a network with one recurrent node, without going back in time.

    With the sensitivities $S_t = dh_t/d\theta$ of the states and $C_t = dc_t/d\theta$ of their contexts,

    $$S_t = J_t C_t + \frac{\partial h_t}{\partial\theta}, \qquad C_{t+1} = \alpha C_t + S_t, \qquad
      \frac{dE}{d\theta} = \sum_t \frac{\partial E}{\partial h_t}\, S_t,$$

    where $J_t$ is the derivative of the cell in its context and $\theta$ its weights. Whatever reads the states learns
    as if they were given.

    Arguments:
        clamps: node -> values with a leading batch axis; the recurrent node is free, its inputs are not.

    Raises:
        ValueError: if the network has not exactly one such node.

    Cost: with n units and $n^2$ weights, $n^4$ products a step and $n^3$ numbers kept, for every sample.

    Source: Williams & Zipser (1989), with the weights fixed over the sequence.
    """
    found = {n: t for n, t in graph.predictions(network.terms).items() if isinstance(t.function, Recurrent)}
    if len(found) != 1:
        raise ValueError(f"rtrl needs a network with one recurrent node, got {len(found)}. Use backprop.")
    ((name, term),) = found.items()
    if term.target in clamps or any(source not in clamps for source in term.needs):
        raise ValueError(f"rtrl needs '{term.target}' free and its inputs clamped, got clamps on {sorted(clamps)}.")

    def one(sample: Any) -> tuple[Float[Array, "steps n"], PyTree]:
        states, sensitivities = _carried(term, [sample[node] for node in term.needs])
        pull = jax.grad(lambda h: network.energy(network.forward({**sample, term.target: h})))(states)
        return states, jax.tree.map(lambda s: jnp.tensordot(pull, s, 2), sensitivities)

    states, inside = eqx.filter_vmap(one)(dict(clamps))
    gradient, energies = backprop(network, {**clamps, term.target: states})
    place = network.term_names.index(name)
    mean = jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), inside)
    return eqx.tree_at(lambda g: g.term_list[place].function, gradient, mean), energies


def _carried(term: Prediction, inputs: list[Array]) -> tuple[Float[Array, "steps n"], PyTree]:
    """Return the states of all steps and their sensitivities, a tree shaped like the weights of the function."""
    assert isinstance(term.function, Recurrent)
    function: Recurrent = term.function
    weights, rest = split(function)

    def state(weights: PyTree, context: Float[Array, "n"], now: list[Array]) -> Float[Array, "n"]:
        cell = eqx.combine(weights, rest).cell
        return term.density.mean(cell(cell.drive(*now), context))

    def step(carry: tuple[Array, PyTree], now: list[Array]) -> tuple[tuple[Array, PyTree], tuple[Array, PyTree]]:
        context, carried = carry
        here = state(weights, context, now)
        direct, jacobian = jax.jacfwd(state, argnums=(0, 1))(weights, context, now)
        sensitivity = jax.tree.map(lambda c, d: jnp.tensordot(jacobian, c, 1) + d, carried, direct)
        ahead = jax.tree.map(function.advance, carried, sensitivity)
        return (function.advance(context, here), ahead), (here, sensitivity)

    size = function.cell.size
    nothing = jax.tree.map(lambda w: jnp.zeros((size, *w.shape)), weights)
    return jax.lax.scan(step, (jnp.zeros(size), nothing), inputs)[1]
