"""Direct feedback alignment: the output error reaches every hidden layer through its own fixed random matrix."""

from typing import ClassVar

import optax

from ..core.network import Network
from ..learning.feedback import dense_chain
from .contract import Needs
from .feedback import AbstractFeedbackAlignment


class DFA(AbstractFeedbackAlignment):
    r"""Direct feedback alignment: every hidden layer receives the output error through a fixed random matrix.

    $\delta_l = (B_l^\top \delta_L) \odot \phi'(z_l)$, $\Delta W_l \propto -\delta_l h_{l-1}^\top$, with
    $\delta_L = \partial E / \partial z_L$. There is no backward pass through the layers: all of them can learn at
    once, as soon as the output error is known. The matrices stand in `TrainState.memory`.

    Networks: chains of dense layers, as `mlp` builds them.

    Arguments:
        scale: factor s on B, whose entries are uniform in $\pm s/\sqrt{c}$ with c the number of outputs (default 1).
        optimiser: the weight rule; it sees the batch mean.

    Cost: one forward pass and one product with each B.

    Source: Noekland (2016).
    """

    scale: float = 1.0
    optimiser: optax.GradientTransformation = optax.adam(1e-3)

    label: ClassVar[str] = "DFA"
    reference: ClassVar[str] = "Noekland, NeurIPS (2016)"
    cost: ClassVar[str] = "one forward pass and one product per layer"
    needs: ClassVar[Needs] = Needs(phases=2)
    direct: ClassVar[bool] = True

    def shapes(self, network: Network) -> dict[str, tuple[int, int]]:
        chain = dense_chain(network, "DFA")
        (outputs,) = network.shapes[chain[-1].target]
        return {term.target: (outputs, network.shapes[term.target][0]) for term in chain[:-1]}

    def fan(self, shape: tuple[int, int]) -> int:
        return shape[0]
