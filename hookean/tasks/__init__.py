"""Experiments by name. What is exported here is registered."""

from .classification import Classification as Classification
from .depth import Depth as Depth
from .energy_flow import EnergyFlow as EnergyFlow
from .initialisation import Initialisation as Initialisation
from .ood import OutOfDistribution as OutOfDistribution
from .stability import Stability as Stability
