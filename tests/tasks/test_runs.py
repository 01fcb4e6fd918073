"""What a run does: epoch 0 before the first update, selection on held-out samples, one look at the test split."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hookean.data import TwoMoons
from hookean.data.dataset import Data, DataError, Split
from hookean.tasks import Classification
from hookean.tasks import classification as room
from hookean.tasks.config import configure, parse_overrides
from hookean.tasks.optimiser import warmup_cosine
from hookean.tasks.sections import merge

SMALL = {
    "dataset": "two_moons",
    "network": {"name": "mlp", "hidden": [8, 6]},
    "algorithm": {"name": "BP"},
    "epochs": 3,
    "batch_size": 64,
}


def test_evaluation_stands_before_the_first_update(tmp_path):
    record = configure(Classification, SMALL).run(tmp_path, quiet=True)
    assert [entry["epoch"] for entry in record.history] == [0, 1, 2, 3]
    assert record.history[0]["train"] is None
    assert record.history[0]["valid"]["samples"] == 100


@pytest.mark.parametrize("selection", ["best", "last"])
def test_the_test_split_is_seen_once_and_by_the_selected_network(tmp_path, monkeypatch, selection):
    looks = []
    evaluator = room.metrics.evaluator

    def watched(*arguments):
        evaluate = evaluator(*arguments)

        def look(dynamic, split):
            counts = evaluate(dynamic, split)
            looks.append((len(split), float(counts.top1)))
            return counts

        return look

    monkeypatch.setattr(room.metrics, "evaluator", watched)
    config = configure(Classification, SMALL | {"selection": selection, "optimiser": {"rate": 0.05}})
    record = config.run(tmp_path, quiet=True)
    held_out = [right for size, right in looks if size == 100]
    assert [size for size, _ in looks].count(500) == 1
    assert looks[-1][0] == 500
    chosen = int(np.argmax(held_out)) if selection == "best" else 3
    assert record.selected_epoch == chosen
    assert record.test["samples"] == 500


def test_seeds_differ_and_the_same_seed_does_not(tmp_path):
    runs = [
        configure(Classification, SMALL | {"seed": seed}).run(tmp_path / name, quiet=True)
        for seed, name in ((0, "a"), (0, "b"), (1, "c"))
    ]
    losses = [[entry["valid"]["cross_entropy"] for entry in run.history] for run in runs]
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]


def test_patience_ends_a_run_that_does_not_get_better(tmp_path):
    values = SMALL | {"epochs": 50, "patience": 2, "optimiser": {"rate": 1e-12}}
    record = configure(Classification, values).run(tmp_path, quiet=True)
    assert record.history[-1]["epoch"] == 2
    assert record.status == "finished"


def test_divergence_is_a_named_result_with_a_remedy(tmp_path):
    values = SMALL | {"algorithm": {"name": "PC", "steps": 200, "solver": {"rate": 1e6}}}
    record = configure(Classification, values).run(tmp_path, quiet=True)
    assert record.status == "diverged"
    assert "algorithm.solver.rate" in record.message
    assert record.test is None


def test_nan_in_the_data_is_refused_with_its_place(tmp_path, monkeypatch):
    load = TwoMoons.load

    def spoiled(self, **options) -> Data:
        data = load(self, **options)
        inputs = data.train.inputs.copy()
        inputs[7, 1] = np.nan
        return Data(data.name, Split(inputs, data.train.labels), data.test, data.classes, data.transform)

    monkeypatch.setattr(TwoMoons, "load", spoiled)
    with pytest.raises(DataError, match=r"finite.*\(7, 1\)"):
        configure(Classification, SMALL).run(tmp_path, quiet=True)


def test_the_schedule_of_the_benchmark():
    rate = warmup_cosine(1.0, 1000)
    assert float(rate(0)) == pytest.approx(1.0)
    assert float(rate(50)) == pytest.approx(1.05)
    assert float(rate(100)) == pytest.approx(1.1)
    assert float(rate(550)) == pytest.approx((1.1 + 0.1) / 2)
    assert float(rate(1000)) == pytest.approx(0.1)


def test_overrides_nest_and_merge_keeps_what_is_not_named():
    given = parse_overrides(["epochs=3", "network.hidden=[4, 5]", "algorithm.solver=Flow", "algorithm.solver.dt=0.5"])
    assert given == {
        "epochs": 3,
        "network": {"hidden": [4, 5]},
        "algorithm": {"solver": {"name": "Flow", "dt": 0.5}},
    }
    base = {"algorithm": {"name": "PC", "steps": 8}, "epochs": 1}
    assert merge(base, {"algorithm": {"steps": 2}}) == {"algorithm": {"name": "PC", "steps": 2}, "epochs": 1}
    assert merge(base, {"algorithm": "BP"})["algorithm"] == {"name": "BP"}


def test_double_precision_is_of_the_run_alone(tmp_path):
    """In float64 the equilibrium is met to less than float32 can hold; what runs afterwards is as before."""
    rule = {"name": "GN", "steps": 4, "solver": {"iterations": 3}}
    values = {"dataset": "two_moons", "epochs": 1, "batch_size": 64, "algorithm": rule, "network": {"hidden": [8]}}
    ends = []
    with jax.enable_x64(False):
        for double in (True, False):
            config = configure(Classification, values | {"double_precision": double})
            ends.append(config.run(tmp_path / str(double), quiet=True))
        assert jnp.zeros(()).dtype == jnp.float32
    assert [record.environment["double_precision"] for record in ends] == [True, False]
    residuals = [record.history[-1]["residual"] for record in ends]
    assert residuals[0] < 1e-9 < 1e-8 < residuals[1]
