"""Experiments by name. What is exported here is registered."""

from .boltzmann import Boltzmann as Boltzmann
from .classification import Classification as Classification
from .depth import Depth as Depth
from .hopfield import Hopfield as Hopfield
from .modern_recall import ModernRecall as ModernRecall
from .sampling_cost import SamplingCost as SamplingCost
