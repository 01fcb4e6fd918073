"""A small record to vary."""

import pytest

from hookean.record import Record


@pytest.fixture
def example():
    return _example


def _example(seed: int = 0, **changes) -> Record:
    values = {
        "task": "classification",
        "label": "PC",
        "algorithm": "PC",
        "network": "mlp",
        "dataset": "Digits",
        "seed": seed,
        "config": {"epochs": 2, "batch_size": 32, "validation": 0.1, "network": {"name": "mlp"}},
        "environment": {"device": "cpu: cpu", "cores": 2},
        "started": "2026-01-01T00:00:00+00:00",
        "status": "finished",
        "test": {"accuracy": 0.9 + 0.01 * seed, "samples": 100.0},
        "seconds": {"total": 3.0},
        "history": [{"epoch": 2, "residual": 0.01, "cosine": {"h1": 0.5, "y": 0.9}}],
    }
    return Record(**(values | changes))
