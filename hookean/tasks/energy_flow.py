"""Task `energy_flow`: how the energy spreads over the layers, to be held against the rate of the states."""

from typing import Any, ClassVar

import pydantic

from .depth import Depth


class EnergyFlow(Depth, frozen=True):
    """Classify with a small perceptron, and keep the energy of every layer over the steps of inference.

    Attributes:
        layers: number of weight layers (default 3, as published).
        network: the builder and its options (default: cross entropy, as published).
        algorithm: the rule; a study varies the rate of its solver. `ZIL` is backpropagation with energies: half the
            squared delta of every layer.

    The other options are those of `depth`.

    Source: Pinchetti et al. (2025), energy propagation.
    """

    name: ClassVar[str] = "energy_flow"
    layers: int = pydantic.Field(default=3, ge=2)
    network: dict[str, Any] = pydantic.Field(
        default={"name": "mlp", "activation": "hard_tanh", "output": "Categorical"}
    )
