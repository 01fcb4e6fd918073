"""Small runs: 90 samples of two classes, a network with two hidden nodes, a constant rate."""

import pytest

from hookean.tasks import Classification
from hookean.tasks.config import configure
from hookean.tasks.sections import merge

BASE = {
    "dataset": "two_moons",
    "network": {"name": "mlp", "hidden": [8, 6]},
    "algorithm": {"name": "BP"},
    "optimiser": {"rate": 0.02, "schedule": "constant"},
    "epochs": 4,
    "batch_size": 30,
    "subset": 150,
    "validation": 60,
    "evidence": 0,
}


@pytest.fixture
def small():
    """Return a function that gives the config of a small run, with changes."""
    return lambda changes=(): configure(Classification, merge(BASE, dict(changes)))
