"""Hookean: networks that learn by relaxing an energy; predictive coding at the heart, backpropagation beside it.

What is needed to define, relax and train a network stands here under one name; the rooms hold the rest:
`hookean.data`, `hookean.tasks`, `hookean.report`. `hookean.PredictiveCodingClassifier` is the scikit-learn estimator.
"""

from importlib import metadata as _metadata
from typing import Any

from .algorithms import BP as BP
from .algorithms import CN as CN
from .algorithms import DFA as DFA
from .algorithms import EPC as EPC
from .algorithms import FA as FA
from .algorithms import GN as GN
from .algorithms import IPC as IPC
from .algorithms import MCPC as MCPC
from .algorithms import NN as NN
from .algorithms import PC as PC
from .algorithms import PCALM as PCALM
from .algorithms import PN as PN
from .algorithms import ZIL as ZIL
from .algorithms import EPNudging as EPNudging
from .algorithms import FixedPrediction as FixedPrediction
from .algorithms import ScheduledPC as ScheduledPC
from .algorithms import SweptBP as SweptBP
from .algorithms.contract import AbstractAlgorithm as AbstractAlgorithm
from .algorithms.contract import Info as Info
from .algorithms.contract import Signal as Signal
from .algorithms.contract import TrainState as TrainState
from .algorithms.nudging import Nudge as Nudge
from .core.builders import decoder as decoder
from .core.builders import graph as graph
from .core.builders import mlp as mlp
from .core.builders import residual_mlp as residual_mlp
from .core.builders import vgg5 as vgg5
from .core.builders import vgg7 as vgg7
from .core.clamp import Masked as Masked
from .core.coordinates import ErrorCoordinates as ErrorCoordinates
from .core.coordinates import StateCoordinates as StateCoordinates
from .core.density import Bernoulli as Bernoulli
from .core.density import Categorical as Categorical
from .core.density import Gaussian as Gaussian
from .core.initialise import Forward as Forward
from .core.initialise import Given as Given
from .core.initialise import Normal as Normal
from .core.initialise import Sweeps as Sweeps
from .core.initialise import Zero as Zero
from .core.network import Network as Network
from .core.parameters import count_parameters as count_parameters
from .core.precision import DiagonalPrecision as DiagonalPrecision
from .core.precision import FullPrecision as FullPrecision
from .core.precision import ScalarPrecision as ScalarPrecision
from .core.term import AbstractTerm as AbstractTerm
from .core.term import Coupling as Coupling
from .core.term import Prediction as Prediction
from .inference import LCA as LCA
from .inference import Flow as Flow
from .inference import GaussNewton as GaussNewton
from .inference import Gradient as Gradient
from .inference import Langevin as Langevin
from .inference import Newton as Newton
from .inference import Optax as Optax
from .inference.relax import Relaxation as Relaxation
from .inference.relax import Result as Result
from .inference.relax import relax as relax
from .learning.backprop import backprop as backprop
from .learning.energy_gradient import energy_gradient as energy_gradient
from .learning.energy_gradient import settled_gradient as settled_gradient

try:
    __version__ = _metadata.version("hookean")
except _metadata.PackageNotFoundError:  # a source tree that is not installed
    __version__ = "0+unknown"


def __getattr__(name: str) -> Any:
    # scikit-learn takes a second to import, which only those who use the estimator should pay.
    if name == "PredictiveCodingClassifier":
        from .estimator import PredictiveCodingClassifier

        return PredictiveCodingClassifier
    raise AttributeError(f"module 'hookean' has no attribute '{name}'")
