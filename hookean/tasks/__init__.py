"""Experiments by name. What is exported here is registered."""

from .boltzmann import Boltzmann as Boltzmann
from .changing import Changing as Changing
from .classification import Classification as Classification
from .depth import Depth as Depth
from .edges import Edges as Edges
from .energy_flow import EnergyFlow as EnergyFlow
from .features import Features as Features
from .graph import Graph as Graph
from .hopfield import Hopfield as Hopfield
from .initialisation import Initialisation as Initialisation
from .lateral import Lateral as Lateral
from .modern_recall import ModernRecall as ModernRecall
from .ood import OutOfDistribution as OutOfDistribution
from .properties import Properties as Properties
from .reach import Reach as Reach
from .recall import Recall as Recall
from .reconstruction import Reconstruction as Reconstruction
from .sampling import Sampling as Sampling
from .sampling_cost import SamplingCost as SamplingCost
from .search import Search as Search
from .sequences import Sequences as Sequences
from .stability import Stability as Stability
from .tracking import Tracking as Tracking
from .tuned import Tuned as Tuned
