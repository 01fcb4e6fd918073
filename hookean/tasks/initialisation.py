"""Task `initialisation`: where the states start, to be held against the number of steps."""

from typing import ClassVar

import pydantic

from .depth import Depth


class Initialisation(Depth, frozen=True):
    """Classify with a small perceptron; a study varies the first states of inference and T.

    Attributes:
        layers: number of weight layers (default 3, as published).
        algorithm: the rule; a study varies its `initial` (Forward, Zero, Normal) and its `steps`.

    The other options are those of `depth`.

    Source: Pinchetti et al. (2025), state initialisation.
    """

    name: ClassVar[str] = "initialisation"
    layers: int = pydantic.Field(default=3, ge=2)
    evidence: int = pydantic.Field(default=0, ge=0)
