"""Task `stability`: whether training holds, so that weight rules can be compared over the width of the network."""

from typing import Any, ClassVar, Literal

import pydantic

from .depth import Depth


class Stability(Depth, frozen=True):
    """Classify with a perceptron of a given width and test the last network: a run that breaks down shows.

    Attributes:
        layers: number of weight layers (default 3, as published).
        network: the builder and its options (default: cross entropy, as published).
        selection: the network that is tested (default: the last, where `depth` takes the best).

    The other options are those of `depth`.

    Source: Pinchetti et al. (2025), training stability.
    """

    name: ClassVar[str] = "stability"
    layers: int = pydantic.Field(default=3, ge=2)
    network: dict[str, Any] = pydantic.Field(
        default={"name": "mlp", "activation": "leaky_relu", "output": "Categorical"}
    )
    selection: Literal["best", "last"] = "last"
    evidence: int = pydantic.Field(default=0, ge=0)
