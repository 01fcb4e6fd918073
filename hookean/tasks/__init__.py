"""Experiments by name. What is exported here is registered."""

from .classification import Classification as Classification
from .depth import Depth as Depth
from .recall import Recall as Recall
