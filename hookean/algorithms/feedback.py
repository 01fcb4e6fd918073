"""What feedback alignment and direct feedback alignment have in common: fixed matrices in the train state's memory."""

import abc
import math
from typing import Any, ClassVar

import equinox as eqx
import jax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..core.checks import positive
from ..core.clamp import Clamps
from ..core.network import Network
from ..learning.feedback import dense_chain, feedback_gradient, feedback_keys
from .contract import AbstractRememberingAlgorithm, Info, Signal, TrainState, learn_once


class AbstractFeedbackAlignment(AbstractRememberingAlgorithm):
    """Learns a chain of dense layers with errors that fixed random matrices carry."""

    scale: eqx.AbstractVar[float]
    direct: ClassVar[bool]

    def __check_init__(self) -> None:
        positive("scale", self.scale)

    @abc.abstractmethod
    def shapes(self, network: Network) -> dict[str, tuple[int, int]]:
        """Return hidden node -> shape of its B: (units that send the error, units of the node)."""

    @abc.abstractmethod
    def fan(self, shape: tuple[int, int]) -> int:
        """Return the number n in the size of the entries of a B of this shape, uniform in scale / sqrt(n)."""

    def init(self, network: Network, *, key: PRNGKeyArray) -> TrainState:
        state = super().init(network, key=key)
        memory = self.feedback(network, key=key)
        return eqx.tree_at(lambda s: s.memory, state, memory, is_leaf=lambda leaf: leaf is None)

    def check(self, network: Network) -> None:
        dense_chain(network, type(self).__name__)

    def updates_per_batch(self) -> int:
        return 1

    def passes(self, network: Network) -> int:
        del network
        return 2

    def feedback(self, network: Network, *, key: PRNGKeyArray) -> dict[str, Float[Array, "m n"]]:
        """Return hidden node -> B, drawn from `key`."""
        shapes = self.shapes(network)
        dtype = dense_chain(network, type(self).__name__)[0].function.linear.weight.dtype  # type: ignore[attr-defined]
        return {
            node: self.scale / math.sqrt(self.fan(shape)) * jax.random.uniform(k, shape, dtype, minval=-1, maxval=1)
            for (node, shape), k in zip(shapes.items(), feedback_keys(key, len(shapes)), strict=True)
        }

    def remembered_signal(
        self,
        memory: Any,
        network: Network,
        batch: Clamps,
        *,
        epoch: Int[Array, ""] | int,
        key: PRNGKeyArray,
        record: bool = False,
    ) -> Signal:
        del epoch, key, record
        return Signal(*feedback_gradient(network, batch, memory, direct=self.direct), None)

    def step(self, state: TrainState, batch: Clamps, *, key: PRNGKeyArray) -> tuple[TrainState, Info]:
        return learn_once(self, state, batch, key=key)
