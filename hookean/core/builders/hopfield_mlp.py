"""Layered Hopfield-type network: the chain of a perceptron, with every weight acting both ways."""

import itertools
import math
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..checks import widths as check_widths
from ..layers import keys
from ..network import Network
from ..term import Coupling


class Bond(eqx.Module):
    r"""$E = -a^\top W b$: one matrix that couples two nodes in both directions.

    Arguments:
        weight: W, units of the first node times units of the second.
    """

    weight: Float[Array, "m n"]

    def __call__(self, first: Float[Array, "*m"], second: Float[Array, "*n"]) -> Float[Array, ""]:
        return -first.reshape(-1) @ (self.weight @ second.reshape(-1))


class Leak(eqx.Module):
    r"""$E = \frac12 \lVert s \rVert^2 - b^\top s$: what draws a node to its bias when nothing drives it."""

    bias: Float[Array, "m"]

    def __call__(self, state: Float[Array, "m"]) -> Float[Array, ""]:
        return 0.5 * jnp.sum(state**2) - self.bias @ state


def hopfield_mlp(
    inputs: int | Sequence[int], outputs: int, *, hidden: Sequence[int] = (500,), gain: float = 1.0, key: PRNGKeyArray
) -> Network:
    r"""Layered symmetric network x - h1 - ... - y: no prediction, no direction, one matrix between neighbours.

    $E = \sum_l \left(\frac12\lVert s_l\rVert^2 - b_l^\top s_l\right) - \sum_l s_{l+1}^\top W_l\, s_l$ over free nodes,
    for states that a solver keeps in [0, 1] (`Projected`). With $s_l$ in that range it is the energy of Scellier &
    Bengio with $\rho(s) = s$. There is no forward pass: every answer is a relaxation. `EP` trains it.

    Arguments:
        inputs: shape of a sample.
        outputs: number of outputs (classes).
        hidden: width of each hidden node.
        gain: g of the first weights, uniform in $\pm g/\sqrt n$ with n the units of the lower node (default 1). Twice
            that and more lets two nodes drive each other to their bounds whatever the input.
        key: for the weights; biases start at zero.

    Source: Scellier & Bengio (2017), sections 2.1 and 4; their code has the energy in this form.
    """
    shape = (inputs,) if isinstance(inputs, int) else tuple(inputs)
    check_widths("hidden", hidden)
    sizes = [math.prod(shape), *hidden, outputs]
    names = ["x", *(f"h{i + 1}" for i in range(len(hidden))), "y"]
    terms = {}
    layer_keys = keys(key, len(sizes) - 1)
    for (below, above), (n, m), layer_key in zip(
        itertools.pairwise(names), itertools.pairwise(sizes), layer_keys, strict=True
    ):
        limit = gain / n**0.5
        terms[f"{above}-{below}"] = Coupling(
            (above, below), Bond(jax.random.uniform(layer_key, (m, n), minval=-limit, maxval=limit))
        )
        terms[above] = Coupling(above, Leak(jnp.zeros(m)))
    return Network({"x": shape} | dict(zip(names[1:], sizes[1:], strict=True)), terms, input="x", output="y")
