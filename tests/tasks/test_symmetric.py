"""Experiments on symmetric networks, in their smallest versions."""

import math

import numpy as np
import pytest

from hookean.record import read_arrays
from hookean.tasks import Boltzmann, Hopfield, ModernRecall, SamplingCost
from hookean.tasks.build import ConfigError
from hookean.tasks.hopfield import crossing


@pytest.mark.parametrize("task", [Boltzmann, Hopfield, ModernRecall, SamplingCost], ids=lambda task: task.name)
def test_the_smallest_version_measures_what_it_shows(task, tmp_path):
    record = task(**task.smoke).run(tmp_path, quiet=True)
    assert record.status == "finished", record.message
    assert set(record.shown) <= set(record.test)
    assert all(math.isfinite(record.test[name]) for name in record.shown if task is not Hopfield)
    assert record.charts
    arrays = read_arrays(tmp_path)
    for images in record.images:
        assert len(images.rows) == len(arrays[images.array])


def test_the_cost_of_inference_survives_a_stop_after_training(tmp_path, monkeypatch):
    config = SamplingCost(**SamplingCost.smoke | {"epochs": 2, "after": [1, 2], "sweeps": 20, "hidden": 4})

    def stop(self, stage):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(SamplingCost, "fill", stop)
        with pytest.raises(KeyboardInterrupt):
            config.run(tmp_path, quiet=True)
    record = config.run(tmp_path, resume=True, quiet=True)
    assert record.status == "finished"
    assert {name: line["x"] for name, line in record.charts[0].lines.items()} == {
        "Gibbs sampling": [1, 2],
        "PC relaxation": [1, 2],
    }


def test_a_modern_network_recalls_every_digit_that_it_compares_by_the_known_half(tmp_path):
    config = {"dataset": "digits", "images": 40, "sizes": [], "noises": []}
    by_distance = ModernRecall(**config, similarity="distance").run(tmp_path / "distance", quiet=True)
    raw = ModernRecall(**config, similarity="dot").run(tmp_path / "dot", quiet=True)
    assert by_distance.test["recalled, %"] == 100
    assert raw.test["recalled, %"] < 90  # the image of the largest norm wins


def test_crossing_is_interpolated_and_nan_where_there_is_none():
    x, y = np.array([0.1, 0.2, 0.4]), np.array([1.0, 0.9, 0.5])
    assert crossing(x, y, 0.7) == pytest.approx(0.3)
    assert math.isnan(crossing(x, y, 0.1))
    assert math.isnan(crossing(x, y, 2.0))


def test_what_cannot_be_measured_is_refused(tmp_path):
    with pytest.raises(ValueError, match="loads must be positive and rising"):
        Hopfield(loads=(0.2, 0.1))
    with pytest.raises(ConfigError, match="images must be at most half"):
        ModernRecall(dataset="digits", images=1000).run(tmp_path / "a", quiet=True)
    with pytest.raises(ConfigError, match=r"after must name epochs from 1 to epochs, 5, got \[1, 3, 10\]"):
        SamplingCost(epochs=5).run(tmp_path / "c", quiet=True)
    with pytest.raises(ConfigError, match="dataset must hold grey images"):
        Boltzmann(dataset="iris").run(tmp_path / "b", quiet=True)
