"""Experiments by name. What is exported here is registered."""

from .classification import Classification as Classification
from .depth import Depth as Depth
from .reach import Reach as Reach
from .sequences import Sequences as Sequences
from .tracking import Tracking as Tracking
