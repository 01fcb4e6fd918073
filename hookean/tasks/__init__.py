"""Experiments by name. What is exported here is registered."""

from .changing import Changing as Changing
from .classification import Classification as Classification
from .depth import Depth as Depth
from .sampling import Sampling as Sampling
from .energy_flow import EnergyFlow as EnergyFlow
from .initialisation import Initialisation as Initialisation
from .ood import OutOfDistribution as OutOfDistribution
from .stability import Stability as Stability
from .boltzmann import Boltzmann as Boltzmann
from .classification import Classification as Classification
from .depth import Depth as Depth
from .hopfield import Hopfield as Hopfield
from .modern_recall import ModernRecall as ModernRecall
from .sampling_cost import SamplingCost as SamplingCost
from .reach import Reach as Reach
from .sequences import Sequences as Sequences
from .tracking import Tracking as Tracking
