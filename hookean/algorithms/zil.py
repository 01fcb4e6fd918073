"""The zero-divergence schedule: predictive coding whose weight changes are backpropagation's, exactly."""

from collections.abc import Collection, Mapping
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from ..core import graph
from ..core.clamp import Clamps
from ..core.network import Network
from ..learning.energy_gradient import energy_gradient
from .contract import (
    AbstractAlgorithm,
    Info,
    Needs,
    Signal,
    TrainState,
    learn_once,
    require_output,
    require_unit_hidden,
    require_whole,
)


class ZIL(AbstractAlgorithm):
    r"""Zero-divergence inference learning: forward start, state rate 1, each layer learns when the error arrives.

    A layer that is k terms away from the output takes its weight gradient after k steps of $x \leftarrow x - \partial
    E/\partial x$, when its own error is exactly backpropagation's $\delta$ and the node below has not moved yet.

    Arguments:
        optimiser: the weight rule; it sees the batch mean.

    Cost: one gradient of each term in states and one in weights a batch; as many steps as there are layers.

    Source: Song et al., NeurIPS (2020), "Can the brain do backpropagation?"; Salvatori et al., AAAI (2022).
    """

    optimiser: optax.GradientTransformation = optax.adam(1e-3)

    label: ClassVar[str] = "ZIL"
    reference: ClassVar[str] = "Song et al., NeurIPS (2020); Salvatori et al., AAAI (2022)"
    cost: ClassVar[str] = "one energy gradient per layer"
    needs: ClassVar[Needs] = Needs(symmetric_weights=True, phases=2)

    def check(self, network: Network) -> None:
        if graph.levels(network.terms, require_output(network)) is None:
            raise ValueError(
                "ZIL needs a network of predictions, one for each node, all leading to the output, in which every path "
                "from a node to the output has the same number of terms. Delay shortcuts by identity nodes, or use PC."
            )
        require_unit_hidden(network, "ZIL")

    def updates_per_batch(self) -> int:
        return 1

    def passes(self, network: Network) -> int:
        del network
        return 4

    def signal(
        self, network: Network, batch: Clamps, *, epoch: Int[Array, ""] | int, key: PRNGKeyArray, record: bool = False
    ) -> Signal:
        del epoch, key, record
        require_whole(batch, "ZIL")
        states = eqx.filter_vmap(network.forward)(dict(batch))
        gradients: list[PyTree] = []
        energies: dict[str, Array] = {}
        for level in graph.levels(network.terms, require_output(network)) or ():
            rest = frozenset(network.term_names) - set(level)
            gradient, arrived = energy_gradient(network, states, without=rest)
            gradients.append(gradient)
            energies |= {name: arrived[name] for name in level}
            states = eqx.filter_vmap(lambda clamps, states, level=level: _step(network, clamps, states, level))(
                dict(batch), states
            )
        total = jax.tree.map(lambda *leaves: sum(leaves), *gradients)
        return Signal(total, {name: energies[name] for name in network.term_names}, None)

    def step(self, state: TrainState, batch: Clamps, *, key: PRNGKeyArray) -> tuple[TrainState, Info]:
        return learn_once(self, state, batch, key=key)


def _step(
    network: Network, clamps: Clamps, states: Mapping[str, Float[Array, "..."]], level: Collection[str]
) -> dict[str, Array]:
    """Move the sources of the terms of one level by a step of rate 1 down the energy of these terms."""
    moving = graph.touched(network.terms, frozenset(network.shapes) - set(clamps), level)
    targets = {term.target for name, term in graph.predictions(network.terms).items() if name in level}

    def energy(free: dict[str, Array]) -> Float[Array, ""]:
        return sum(network.energies(dict(states) | free, only=level).values(), start=jnp.zeros(()))

    gradient = jax.grad(energy)({name: states[name] for name in moving - targets})
    return dict(states) | {name: states[name] - g for name, g in gradient.items()}
