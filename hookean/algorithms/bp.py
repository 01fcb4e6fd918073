"""Backpropagation on the very same network object: the rival beside which everything is measured."""

from typing import ClassVar

import jax
import optax
from jaxtyping import Array, Int, PRNGKeyArray

from ..core import graph
from ..core.clamp import Clamps
from ..core.network import Network
from ..learning.backprop import backprop, backprop_through_statistics
from .contract import AbstractAlgorithm, Info, Needs, Signal, TrainState, learn_once, require_whole


class BP(AbstractAlgorithm):
    r"""Backpropagation: one forward pass, then the gradient of the energy of the clamped targets through it.

    $W \leftarrow W - \alpha\, s\, \overline{dE(x(W))/dW}$, where $x(W)$ are the forward states.

    Arguments:
        scale: factor s on the gradient (default 1; the benchmark's BP-SE has no one-half in its loss, so its presets
            say 2).
        through_statistics: differentiate the statistics of batch normalisation as well, as is usual; by default they
            are constants, as for every algorithm with inference.
        optimiser: the weight rule; it sees the batch mean.

    Cost: one gradient of the energy through the network a batch.

    Source: Rumelhart, Hinton & Williams (1986).
    """

    scale: float = 1.0
    through_statistics: bool = False
    optimiser: optax.GradientTransformation = optax.adam(1e-3)

    label: ClassVar[str] = "BP"
    reference: ClassVar[str] = "Rumelhart, Hinton & Williams, Nature 323 (1986)"
    cost: ClassVar[str] = "one forward and one backward pass"
    needs: ClassVar[Needs] = Needs(weight_transport=True, backward_pass=True, phases=2)

    def check(self, network: Network) -> None:
        _, cyclic = graph.forward_order(network.terms, [network.input] if network.input else [])
        if cyclic:
            raise ValueError(
                f"BP needs a network without cycles, but {', '.join(cyclic)} lie on or behind one. Use PC."
            )

    def updates_per_batch(self) -> int:
        return 1

    def passes(self, network: Network) -> int:
        del network
        return 2

    def signal(
        self, network: Network, batch: Clamps, *, epoch: Int[Array, ""] | int, key: PRNGKeyArray, record: bool = False
    ) -> Signal:
        del epoch, key, record
        require_whole(batch, "BP")
        taken = backprop_through_statistics if self.through_statistics else backprop
        gradient, energies = taken(network, batch)
        return Signal(jax.tree.map(lambda leaf: self.scale * leaf, gradient), energies, None)

    def step(self, state: TrainState, batch: Clamps, *, key: PRNGKeyArray) -> tuple[TrainState, Info]:
        return learn_once(self, state, batch, key=key)
