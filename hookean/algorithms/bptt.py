"""Backpropagation through time, whole or truncated to a window of steps."""

from typing import ClassVar

import optax
from jaxtyping import Array, Int, PRNGKeyArray

from ..core import graph
from ..core.checks import at_least
from ..core.clamp import Clamps
from ..core.network import Network
from ..core.recurrent import truncated
from ..learning.backprop import backprop_through_time
from .contract import AbstractAlgorithm, Info, Needs, Signal, TrainState, learn_once


class BPTT(AbstractAlgorithm):
    r"""Backpropagation through time: roll the sequence out, then the gradient of the energy of the clamped targets.

    $W \leftarrow W - \alpha\,\overline{dE(h_{1 \ldots T}(W))/dW}$, with $\partial h_t/\partial h_{t-1}$ followed
    back over all steps, or over `window` of them.

    Arguments:
        window: K, steps that the gradient reaches back; None (default) takes all. A window of the length of the
            sequence is the same.
        sliding: with a window, every step reaches K steps back, which needs contexts without a decay. Otherwise
            (default, as usual) the sequence is cut into windows side by side, so that a step reaches back to the
            beginning of its own.
        optimiser: the weight rule; it sees the batch mean.

    Cost: one forward and one backward pass a batch; memory for all steps, whatever the window.

    Source: Werbos (1990); Williams & Peng (1990) for the truncation. Elman's own training (1990) is `window=1`.
    """

    window: int | None = None
    sliding: bool = False
    optimiser: optax.GradientTransformation = optax.adam(1e-3)

    label: ClassVar[str] = "BPTT"
    reference: ClassVar[str] = "Werbos, Proceedings of the IEEE 78 (1990); Williams & Peng, Neural Computation 2 (1990)"
    cost: ClassVar[str] = "one forward and one backward pass over the sequence"
    needs: ClassVar[Needs] = Needs(weight_transport=True, backward_pass=True, phases=2)

    def __check_init__(self) -> None:
        if self.window is not None:
            at_least("window", self.window, 1)

    def check(self, network: Network) -> None:
        _, cyclic = graph.forward_order(network.terms, [network.input] if network.input else [])
        if cyclic:
            raise ValueError(f"BPTT needs an order of evaluation, but {', '.join(cyclic)} lie on or behind a cycle.")
        truncated(network, self.window, sliding=self.sliding)  # raises where the windows do not fit the contexts

    def updates_per_batch(self) -> int:
        return 1

    def passes(self, network: Network) -> int:
        del network
        return 2 * (self.window or 1) if self.sliding else 2

    def signal(
        self, network: Network, batch: Clamps, *, epoch: Int[Array, ""] | int, key: PRNGKeyArray, record: bool = False
    ) -> Signal:
        del epoch, key, record
        return Signal(*backprop_through_time(network, batch, window=self.window, sliding=self.sliding), None)

    def step(self, state: TrainState, batch: Clamps, *, key: PRNGKeyArray) -> tuple[TrainState, Info]:
        return learn_once(self, state, batch, key=key)
