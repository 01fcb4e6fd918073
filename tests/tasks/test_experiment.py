"""The frame of experiments: records, resuming, failures; training over any rows; suites."""

import tomllib
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import hookean
from hookean import tasks
from hookean.data.dataset import DataError
from hookean.record import Chart, Images, RecordError, read_arrays, read_record
from hookean.registry import exported_classes
from hookean.tasks.build import ConfigError
from hookean.tasks.config import configure
from hookean.tasks.contract import AbstractTask
from hookean.tasks.experiment import AbstractExperiment, Stage
from hookean.tasks.fit import fit
from hookean.tasks.ood import OutOfDistribution
from hookean.tasks.suite import Entry, run_suite, suite


class Toy(AbstractExperiment, frozen=True):
    """Fit a small network to a fixed table."""

    name: ClassVar[str] = "toy"
    smoke: ClassVar[dict] = {"epochs": 1}
    epochs: int = 3
    stop_after: int | None = None
    limit: int | None = 5
    rate: float = 1e-2
    batch_size: int = 16
    fail: str = ""

    def names(self):
        return {"label": self.label or "toy", "algorithm": "PC", "network": "mlp", "dataset": "table"}

    def measure(self, stage):
        if self.fail == "diverged":
            stage.diverged("the toy left the finite numbers: lower rate.")
        if self.fail == "data":
            raise DataError("no toy data found.")
        key = jax.random.key(self.seed)
        network = hookean.mlp(4, 3, hidden=(6, 5), key=key)
        random = np.random.default_rng(0)
        rows = {"x": random.normal(size=(50, 4)), "y": np.eye(3)[np.arange(50) % 3]}

        def after(state, epoch):
            if self.stop_after == epoch:
                raise KeyboardInterrupt
            return {"updates": int(state.updates)}

        state = fit(
            stage,
            hookean.PC(steps=4, optimiser=optax.adam(self.rate)),
            network,
            rows,
            lambda batch, key: {"x": batch["x"], "y": batch["y"]},
            epochs=self.epochs,
            batch_size=self.batch_size,
            seed=self.seed,
            after=after,
        )
        stage.record.test = {"weight": float(jnp.sum(state.network.terms["y"].function.linear.weight))}
        stage.record.shown = ["weight"]
        stage.record.charts = [Chart("Line", "x", "y", {"": {"x": [0.0, 1.0], "y": [1.0, float("nan")]}})]
        stage.record.images = [Images("Pixels", "pixels", ["row"])]
        stage.keep_arrays({"pixels": np.zeros((1, 2, 3, 3), np.float16)})


def test_a_run_leaves_what_it_measured(tmp_path):
    record = Toy().run(tmp_path, quiet=True)
    stored = read_record(tmp_path / "record.json")
    assert (stored.status, stored.shown, stored.test) == ("finished", ["weight"], record.test)
    assert [entry["epoch"] for entry in stored.history] == [1, 2, 3]
    assert [entry["updates"] for entry in stored.history] == [3, 6, 9]  # 50 samples hold three batches of 16
    assert stored.history[-1]["train"]["energy"] < stored.history[0]["train"]["energy"]
    assert stored.charts[0].lines[""]["x"] == [0.0, 1.0]
    assert np.isnan(stored.charts[0].lines[""]["y"][1])
    assert read_arrays(tmp_path)["pixels"].shape == (1, 2, 3, 3)
    assert stored.seconds["train"] > 0


def test_a_run_refuses_an_occupied_folder_and_returns_a_finished_one(tmp_path):
    first = Toy().run(tmp_path, quiet=True)
    with pytest.raises(ConfigError, match="--resume"):
        Toy().run(tmp_path, quiet=True)
    assert Toy().run(tmp_path, resume=True, quiet=True).started == first.started


def test_an_option_that_was_none_is_not_one_that_did_not_exist(tmp_path):
    Toy(limit=None).run(tmp_path, quiet=True)
    with pytest.raises(ConfigError, match="limit is not set there and 5 here"):
        Toy().run(tmp_path, resume=True, quiet=True)


def test_an_option_that_is_none_is_written_where_its_default_is_not(tmp_path):
    Toy(limit=None).run(tmp_path, quiet=True)
    values = tomllib.loads((tmp_path / "config.toml").read_text())
    assert values["limit"] == "none"
    assert "stop_after" not in values
    assert configure(Toy, {key: value for key, value in values.items() if key != "task"}) == Toy(limit=None)


def test_a_label_is_the_name_of_one_folder():
    for label, folder in (("a/b", "a-b"), ("..", "--"), ("../../up", "..-..-up")):
        assert Toy(label=label).cell() == ("table", "mlp", folder, "seed-0")


def test_an_error_before_anything_is_measured_leaves_no_run(tmp_path):
    with pytest.raises(DataError):
        Toy(fail="data").run(tmp_path, quiet=True)
    assert not list(tmp_path.iterdir())
    assert Toy().run(tmp_path, quiet=True).status == "finished"


def test_another_configuration_leaves_an_interrupted_run_as_it_is(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        Toy(stop_after=3).run(tmp_path, quiet=True)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ConfigError, match="stop_after is 3 there"):
        Toy().run(tmp_path, resume=True, quiet=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_options_of_an_optimiser_stand_on_top_of_the_tasks_own():
    kept = OutOfDistribution(optimiser={"rate": 0.02}).optimiser
    assert (kept.name, kept.rate, kept.momentum) == ("sgd", 0.02, OutOfDistribution().optimiser.momentum)
    assert OutOfDistribution(optimiser={"name": "adam"}).optimiser.momentum == 0


def test_a_stopped_run_goes_on_from_its_checkpoint(tmp_path):
    whole = Toy().run(tmp_path / "whole", quiet=True)
    with pytest.raises(KeyboardInterrupt):
        Toy(stop_after=3).run(tmp_path / "part", quiet=True)
    assert read_record(tmp_path / "part" / "record.json").status == "interrupted"
    # The option that stops it is a part of the config, so the checkpoint belongs to another one.
    with pytest.raises(ConfigError, match="another configuration"):
        Toy().run(tmp_path / "part", resume=True, quiet=True)
    with pytest.raises(KeyboardInterrupt):  # it goes on from the second epoch and is stopped at the same place
        Toy(stop_after=3).run(tmp_path / "part", resume=True, quiet=True)
    header = read_record(tmp_path / "part" / "record.json")
    assert [entry["epoch"] for entry in header.history] == [1, 2]
    assert header.history == whole.history[:2]


def test_seconds_of_a_stopped_run_count_on_from_its_checkpoint(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Stage, "seconds", lambda stage: {"train": 100.0, "total": 1000.0})
        with pytest.raises(KeyboardInterrupt):
            Toy(stop_after=3).run(tmp_path, quiet=True)
    with pytest.raises(KeyboardInterrupt):
        Toy(stop_after=3).run(tmp_path, resume=True, quiet=True)
    seconds = read_record(tmp_path / "record.json").seconds
    assert 100 < seconds["train"] < seconds["total"] - 899  # an epoch more, and what lies around it
    assert 1000 < seconds["total"] < 1100


def test_a_diverged_run_says_so_and_wrong_sizes_are_refused(tmp_path):
    record = Toy(fail="diverged").run(tmp_path / "a", quiet=True)
    assert record.status == "diverged"
    assert "lower rate" in record.message
    assert Toy(rate=1e300).run(tmp_path / "b", quiet=True).status == "diverged"
    with pytest.raises(ConfigError, match="batch_size must be at most the number of training samples, 50"):
        Toy(batch_size=51).run(tmp_path / "c", quiet=True)


def test_charts_are_checked():
    with pytest.raises(RecordError, match="must hold x and y"):
        Chart("bad", "x", "y", {"a": {"x": [1.0], "y": [1.0, 2.0]}})
    with pytest.raises(RecordError, match="log of the chart"):
        Chart("bad", "x", "y", {}, log="z")


def test_a_suite_goes_on_past_failures(tmp_path):
    entries = [
        Entry("good", Toy, {"epochs": 1}, 2),
        Entry("diverges", Toy, {"fail": "diverged"}, 1),
        Entry("lacks data", Toy, {"fail": "data"}, 1),
        Entry("names nothing", tasks.Classification, {"dataset": "digit"}, 1),
        Entry("last", Toy, {"epochs": 1}, 1),
    ]
    told = []
    outcomes = run_suite(entries, tmp_path, quiet=True, tell=told.append)
    assert [[record.status for record in outcome.records] for outcome in outcomes] == [
        ["finished", "finished"],
        ["diverged"],
        [],
        [],
        ["finished"],
    ]
    assert outcomes[2].missing == "no toy data found."
    assert "no data set called 'digit'" in outcomes[3].missing
    assert told == outcomes
    assert (tmp_path / "toy" / "good" / "table" / "mlp" / "toy" / "seed-1" / "record.json").exists()


def test_suites_are_told_apart():
    presets = {
        "a": {"task": "toy", "suite": "small", "seeds": 3, "epochs": 2, "about": "x"},
        "b": {"task": "toy", "expected": {"x": 1}},
    }
    small, full, smoke = (suite(name, presets, {"toy": Toy}) for name in ("small", "full", "smoke"))
    assert [(entry.name, entry.seeds, entry.values) for entry in small] == [("a", 3, {"epochs": 2})]
    assert [(entry.name, entry.seeds, entry.values) for entry in full] == [("b", 1, {})]
    assert [(entry.name, entry.values) for entry in smoke] == [("toy", {"epochs": 1})]
    with pytest.raises(ConfigError, match="must be one of smoke, small, full, got 'big'"):
        suite("big", presets, {"toy": Toy})


def test_every_task_has_a_version_of_seconds():
    for task in exported_classes(tasks, AbstractTask).values():
        assert task.smoke, f"{task.name} must state its smallest version"
        task(**task.smoke).check()
