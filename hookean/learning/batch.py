"""The one place where energies are averaged over a batch. States never see this mean, only weights do."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..core.network import Network
from ..core.parameters import split


def mean_gradient(
    energies: Callable[[Network, Any], dict[str, Float[Array, ""]]], network: Network, samples: PyTree
) -> tuple[PyTree, dict[str, Float[Array, ""]]]:
    r"""Return $\frac1B\sum_b \partial E_b/\partial W$ and the mean energy of each term.

    Arguments:
        energies: (network, one sample) -> energy of each term in nats.
        samples: a tree of arrays with a leading batch axis.

    Returns:
        (a tree shaped like the network with None where nothing is trained, name of term -> nats).
    """
    trained, rest = split(network)
    batch = jax.tree.leaves(samples)[0].shape[0]

    def total(trained: PyTree) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
        model = eqx.combine(trained, rest)
        by_term = jax.vmap(lambda sample: energies(model, sample))(samples)
        sums = {name: jnp.sum(values) for name, values in by_term.items()}
        return sum(sums.values(), start=jnp.zeros(())), sums

    # The sum is differentiated and divided afterwards: per-sample signals are then the same numbers
    # as in the relaxation, and the compiler evaluates what both have in common once.
    gradient, sums = jax.grad(total, has_aux=True)(trained)
    return jax.tree.map(lambda leaf: leaf / batch, (gradient, sums))
