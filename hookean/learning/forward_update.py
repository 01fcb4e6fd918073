r"""The forward update: what inference found is learned from the sources as they were before it."""

from collections.abc import Mapping

from jaxtyping import Array, Float, PyTree

from ..core import graph
from ..core.clamp import Clamps
from ..core.network import Network
from .batch import mean_gradient


def untold(network: Network, clamps: Clamps) -> Clamps:
    """Return the clamps without the output, from which sources start when the target is not known.

    Raises:
        ValueError: if the output alone is clamped, as with a decoder: then nothing says where sources start.
    """
    kept = {name: clamp for name, clamp in clamps.items() if name != network.output}
    if not kept:
        raise ValueError(
            f"the forward update starts the sources from what is clamped besides the output, but only the output "
            f"'{network.output}' is. Clamp an input, or use PC(forward_update=False)."
        )
    return kept


def forward_gradient(
    network: Network, states: Mapping[str, Array], forward: Mapping[str, Array]
) -> tuple[PyTree, dict[str, Float[Array, ""]]]:
    r"""Return the batch mean of $\partial/\partial W\, E\big(x_i, f(h_{pa(i)}; W)\big)$ and of each term's energy.

    Every target is where inference left it, every source where the forward pass put it, so that the derivative of f is
    taken at the forward states.

    Arguments:
        states: name -> states x after inference, with a leading batch axis.
        forward: name -> states h of the forward pass, with a leading batch axis.

    Raises:
        ValueError: if a term is no prediction.

    Cost: one gradient of the energy in the weights.

    Source: Qi et al. (2025), forward update; Ha et al. (2026) use the same rule.
    """
    couplings = sorted(set(network.term_names) - set(graph.predictions(network.terms)))
    if couplings:
        raise ValueError(f"the forward update needs terms that are predictions, but {couplings} are none.")

    def energies(model: Network, sample: tuple[dict[str, Array], dict[str, Array]]) -> dict[str, Float[Array, ""]]:
        found, before = sample
        terms = graph.predictions(model.terms)
        return {n: t.density.energy(found[t.target], t.predict(before)) for n, t in terms.items()}

    return mean_gradient(energies, network, (dict(states), dict(forward)))
