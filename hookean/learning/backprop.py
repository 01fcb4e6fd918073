r"""Backpropagation on the same network: the gradient of the energy of the forward states, through the forward pass."""

from collections.abc import Mapping

from jaxtyping import Array, Float, PyTree

from ..core.clamp import Clamps
from ..core.network import Network
from .batch import mean_gradient


def backprop(network: Network, clamps: Clamps) -> tuple[PyTree, dict[str, Float[Array, ""]]]:
    r"""Return $\frac1B\sum_b \frac{d}{dW} E_b(x(W))$, where $x(W)$ are the states of a forward pass.

    Every free node sits at its prediction, so that only terms with a clamped target hold energy: the loss is their
    sum (half the squared error, or the cross entropy, at the output).

    Arguments:
        clamps: node -> values with a leading batch axis.

    Returns:
        (a tree shaped like the network, name of term -> mean energy in nats).

    Raises:
        ValueError: if the graph has a cycle.
    """

    def energies(model: Network, sample: Mapping[str, Array]) -> dict[str, Float[Array, ""]]:
        return model.energies(model.forward(sample))

    return mean_gradient(energies, network, dict(clamps))
