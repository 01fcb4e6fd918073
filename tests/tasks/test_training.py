"""What a run does: when it evaluates, what it selects, when it stops, and what depends on the seed."""

import jax
import numpy as np
import pytest

from hookean.record import read_arrays, read_record
from hookean.tasks import classification, metrics
from hookean.tasks.build import ConfigError


def curve(record, name="accuracy"):
    return [entry["valid"][name] for entry in record.history]


@pytest.fixture
def splits(monkeypatch):
    """Record how many samples every evaluation measured, in order."""
    seen = []
    original = metrics.evaluator

    def evaluator(*arguments):
        evaluate = original(*arguments)

        def counted(dynamic, split):
            seen.append(len(split.labels))
            return evaluate(dynamic, split)

        return counted

    monkeypatch.setattr(metrics, "evaluator", evaluator)
    return seen


def test_the_best_epoch_is_tested_and_the_test_split_is_seen_once(small, splits, tmp_path):
    # A rate that is too high for the accuracy to rise all the time, so that the best epoch is not the last.
    changes = {"optimiser": {"rate": 0.8, "schedule": "constant"}, "epochs": 5}
    record = small(changes).run(tmp_path / "best", quiet=True)
    assert splits == [60] * 6 + [500]  # before the first update, after each epoch, and the test split at the end
    accuracy = curve(record)
    best = int(np.argmax(accuracy))
    assert 0 < best < 5
    assert accuracy[-1] < accuracy[best]
    assert record.selected_epoch == best
    # The rate is constant: a run that ends at the best epoch ends with the network that was selected.
    until = small(changes | {"epochs": best, "selection": "last"}).run(tmp_path / "until", quiet=True)
    assert until.selected_epoch == best
    assert record.test == until.test
    assert record.confusion == until.confusion
    assert np.sum(record.confusion) == sum(record.calibration["count"]) == 500
    last = small(changes | {"selection": "last"}).run(tmp_path / "last", quiet=True)
    assert last.selected_epoch == 5
    assert last.test != record.test
    assert curve(last) == accuracy


def test_history_starts_before_the_first_update(small, tmp_path):
    config = small({"evidence": 2, "algorithm": {"name": "PC", "steps": 3}})
    record = config.run(tmp_path, quiet=True)
    assert [entry["epoch"] for entry in record.history] == [0, 1, 2, 3, 4]
    assert record.history[0]["train"] is None
    assert all(set(entry["train"]) == {"energy", "accuracy"} for entry in record.history[1:])
    assert ["cosine" in entry for entry in record.history] == [True, False, True, False, True]
    parts = classification.build(config)
    evaluate = metrics.evaluator(
        parts.algorithm.class_energies, lambda raw: raw, parts.state.network, 64, lambda _, network: network
    )
    untouched = metrics.summarise(evaluate(None, parts.valid))
    assert record.history[0]["valid"] == pytest.approx(untouched)
    assert set(record.relaxation) == {"first", "last"}
    assert len(record.relaxation["last"]["residual"]) == 4
    assert record.relaxation["last"]["residual"][0] == pytest.approx(1)
    for name, energy in record.history[-1]["energies"].items():
        assert name in ("h1", "h2", "y")
        assert energy > 0
    on_disk = read_record(tmp_path / "record.json")
    assert (on_disk.status, on_disk.config) == ("finished", record.config)
    assert on_disk.history == record.history
    arrays = read_arrays(tmp_path)
    assert arrays["sample_images"].shape == (8, 2)
    assert {name for name in arrays if name.startswith("sample_error/")} == {
        "sample_error/h1",
        "sample_error/h2",
        "sample_error/y",
    }


def test_no_epochs_is_an_evaluation(small, tmp_path):
    record = small({"epochs": 0}).run(tmp_path, quiet=True)
    assert [entry["epoch"] for entry in record.history] == [0]
    assert record.selected_epoch == 0
    assert record.status == "finished"


def test_patience_stops(small, tmp_path):
    # A rate of next to nothing: no epoch is better than the first.
    frozen = {"optimiser": {"rate": 1e-12, "schedule": "constant"}, "epochs": 9}
    record = small(frozen | {"patience": 3}).run(tmp_path / "a", quiet=True)
    assert [entry["epoch"] for entry in record.history] == [0, 1, 2, 3]
    assert record.selected_epoch == 0
    assert record.status == "finished"


def test_seeds_differ_and_repeat(small, tmp_path):
    runs = [small({"seed": s}).run(tmp_path / str(i), quiet=True) for i, s in enumerate((0, 0, 1))]
    energies = [curve(record, "energy") for record in runs]
    assert energies[0] == energies[1]
    assert not np.allclose(energies[0], energies[2], rtol=1e-3)
    assert runs[0].test == runs[1].test


def test_the_held_out_samples_are_the_same_for_every_seed_and_never_trained_on(small):
    parts = [classification.build(small({"seed": seed})) for seed in (0, 1, 7)]
    for other in parts[1:]:
        np.testing.assert_array_equal(parts[0].valid.inputs, other.valid.inputs)
        np.testing.assert_array_equal(parts[0].train.inputs, other.train.inputs)
    held_out = {row.tobytes() for row in parts[0].valid.inputs}
    trained = {row.tobytes() for row in parts[0].train.inputs}
    assert (len(held_out), len(trained)) == (60, 90)
    assert not held_out & trained
    weights = [jax.tree.leaves(p.state.network)[0] for p in parts]
    assert not np.allclose(weights[0], weights[1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 91}, "batch_size must be at most the number of training samples, 90, got 91"),
        ({"validation": 150}, "^validation: .*150"),
        ({"validation": 1.5}, "^validation: .*between 0 and 1; got 1.5"),
        ({"subset": 5000}, "^subset: .*5000"),
    ],
)
def test_sizes_that_do_not_fit(small, tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        small(changes).run(tmp_path, quiet=True)
    assert not list(tmp_path.iterdir())
