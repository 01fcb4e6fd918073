"""A node seen through a mask, given sample by sample: recall from any part of the data, in any coordinates."""

from collections.abc import Callable

import equinox as eqx
from jaxtyping import Array, Float

from .density import Gaussian
from .network import Network
from .precision import FullPrecision
from .term import Prediction


class Seen(eqx.Module):
    r"""$m \odot f(\cdot)$: a prediction of what a mask leaves of its target."""

    function: Callable[..., Array]

    def __call__(self, *sources: Array) -> Float[Array, "*node"]:
        return sources[-1] * self.function(*sources[:-1])


def observed(network: Network, node: str, *, mask: str = "seen") -> Network:
    r"""Return the network with `node` seen through a mask m of zeros and ones: $\hat x \to m \odot \hat x$.

    Clamp `node` at $m \odot x$ and the new node `mask` at m. The energy is then
    $\frac12 \sum_i m_i \Pi_i (x_i - \hat x_i)^2$ and what the other terms hold: the energy of the network whose missing
    part is free, at the minimum over that part, where each missing value sits at its prediction. So the equilibria of
    the other nodes are those of a `Masked` clamp. Here the node is clamped as a whole, so that error coordinates and
    every solver may be used, and the missing values are no variables that must first be carried to their predictions.

    Arguments:
        node: what is seen in part; one Gaussian prediction has it as target, and no term reads it.
        mask: name of the node that holds the mask.

    Raises:
        ValueError: if the node is read by another term, has not one prediction, or its density couples its entries.
    """
    reading = {name: term for name, term in network.terms.items() if node in term.nodes}
    if len(reading) != 1 or mask in network.shapes:
        raise ValueError(
            f"node must be touched by one term, and mask must be a new name; '{node}' is touched by "
            f"{', '.join(reading) or 'none'}, and the nodes are {', '.join(network.shapes)}."
        )
    ((name, term),) = reading.items()
    separate = (
        isinstance(term, Prediction)
        and term.target == node
        and isinstance(term.density, Gaussian)
        and not isinstance(term.density.precision, FullPrecision)
    )
    if not separate:
        raise ValueError(
            f"'{node}' must have a Gaussian prediction with a scalar or diagonal precision; '{name}' is not."
        )
    assert isinstance(term, Prediction)
    through = Prediction(node, (*term.sources, mask), Seen(term.function), term.density)
    shapes = network.shapes | {mask: network.shapes[node]}
    return Network(shapes, network.terms | {name: through}, input=network.input, output=network.output)
