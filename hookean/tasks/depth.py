"""Task `depth`: classification with networks of a given number of layers, so that rules can be compared over depth."""

from collections.abc import Mapping
from typing import Any, ClassVar

import pydantic

from ..core import builders
from ..registry import exported_functions
from .build import ConfigError, options, resolve
from .classification import Classification


class Depth(Classification, frozen=True):
    """Classify with a network of a given number of layers: accuracy, evidence and cost against depth.

    Attributes:
        layers: number of weight layers; hidden layers are one fewer.
        width: units of a hidden layer.
        network: a builder with hidden layers of one kind, `mlp` or `residual_mlp`, and its other options.

    The other options are those of `classification`.
    """

    name: ClassVar[str] = "depth"
    smoke: ClassVar[Mapping[str, Any]] = {"dataset": "digits", "layers": 6, "width": 16, "epochs": 1}
    dataset: str = "fashion_mnist"
    network: dict[str, Any] = pydantic.Field(default={"name": "mlp"})
    epochs: int = pydantic.Field(default=3, ge=0)
    layers: int = pydantic.Field(default=20, ge=2)
    width: int = pydantic.Field(default=128, ge=1)

    def network_options(self) -> dict[str, Any]:
        builder = resolve(self.network, exported_functions(builders), "network")[0]
        known = options(builder)
        if {"depth", "width"} <= set(known):
            sizes: dict[str, Any] = {"depth": self.layers - 1, "width": self.width}
        elif "hidden" in known:
            sizes = {"hidden": [self.width] * (self.layers - 1)}
        else:
            raise ConfigError(f"network: {builder.__name__} has layers of its own; use mlp or residual_mlp.")
        twice = sorted(name for name in sizes if name in self.network and self.network[name] != sizes[name])
        if twice:
            raise ConfigError(f"network.{twice[0]} follows from layers and width in the task depth. Leave it out.")
        return self.network | sizes
