"""Feedback alignment: backpropagation through fixed random matrices."""

from typing import ClassVar

import optax

from ..core.network import Network
from ..learning.feedback import dense_chain
from .contract import Needs
from .feedback import AbstractFeedbackAlignment


class FA(AbstractFeedbackAlignment):
    r"""Feedback alignment: the backward pass of backpropagation with fixed random matrices for the weights.

    $\delta_l = (B_{l+1}^\top \delta_{l+1}) \odot \phi'(z_l)$, $\Delta W_l \propto -\delta_l h_{l-1}^\top$, with
    $\delta_L = \partial E / \partial z_L$ at the output. B is drawn once and never learns; the weights come to align
    with it. The output layer has backpropagation's gradient. The matrices stand in `TrainState.memory`.

    Networks: chains of dense layers, as `mlp` builds them.

    Arguments:
        scale: factor s on B, whose entries are uniform in $\pm s/\sqrt{n}$ with n the number of units that the layer
            reads, as the weights of a new `mlp` are (default 1).
        optimiser: the weight rule; it sees the batch mean.

    Cost: one forward pass and one pass back through B.

    Source: Lillicrap, Cownden, Tweed & Akerman (2016).
    """

    scale: float = 1.0
    optimiser: optax.GradientTransformation = optax.adam(1e-3)

    label: ClassVar[str] = "FA"
    reference: ClassVar[str] = "Lillicrap, Cownden, Tweed & Akerman, Nature Communications 7 (2016)"
    cost: ClassVar[str] = "one forward and one backward pass"
    needs: ClassVar[Needs] = Needs(backward_pass=True, phases=2)
    direct: ClassVar[bool] = False

    def shapes(self, network: Network) -> dict[str, tuple[int, int]]:
        chain = dense_chain(network, "FA")[1:]
        return {term.sources[0]: term.function.linear.weight.shape for term in chain}  # type: ignore[attr-defined]

    def fan(self, shape: tuple[int, int]) -> int:
        return shape[1]
