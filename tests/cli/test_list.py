"""`hookean list` names everything that is registered; adding an algorithm is one class and one export."""

import sys
from typing import final

import optax
import pytest

from hookean import algorithms, cli
from hookean.algorithms import BP
from hookean.algorithms.contract import AbstractAlgorithm, learn_once
from hookean.tasks import Classification
from hookean.tasks.config import configure


def test_everything_registered_is_listed(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr(sys, "argv", ["hookean", "list"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    shown = capsys.readouterr().out
    for kind, members in cli._registered().items():
        assert kind in shown
        assert members
        for name, line in members.items():
            assert name in shown
            assert line, f"{name} has no summary"


def test_an_algorithm_that_is_exported_runs_by_name(tmp_path, monkeypatch):
    @final
    class Patient(AbstractAlgorithm):
        """Backpropagation under another name."""

        rate: float = 0.5
        optimiser: optax.GradientTransformation = optax.adam(1e-3)
        label = "patient"
        reference = "none"
        cost = "as BP"
        needs = BP.needs

        def check(self, network):
            BP().check(network)

        def updates_per_batch(self):
            return 1

        def signal(self, network, batch, *, epoch, key, record=False):
            return BP(scale=self.rate).signal(network, batch, epoch=epoch, key=key, record=record)

        def step(self, state, batch, *, key):
            return learn_once(self, state, batch, key=key)

    monkeypatch.setattr(algorithms, "Patient", Patient, raising=False)
    assert cli._registered()["algorithms"]["Patient"] == "Backpropagation under another name."
    values = {"dataset": "two_moons", "epochs": 1, "batch_size": 64, "algorithm": {"name": "patient", "rate": 0.25}}
    record = configure(Classification, values).run(tmp_path, quiet=True)
    assert record.label == "patient"
    assert record.config["algorithm"]["rate"] == 0.25
    assert record.history[-1]["norm_ratio"]["y"] == pytest.approx(0.25, rel=1e-5)
