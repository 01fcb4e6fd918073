"""The other topologies and rivals, and the classical methods beside them. What is exported here is registered."""

from .kalman import kalman_filter as kalman_filter
