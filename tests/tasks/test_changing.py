"""A world that changes: what is learned and what is measured in each of its parts."""

import numpy as np
import pytest

from hookean.tasks import Changing
from hookean.tasks.build import ConfigError
from hookean.tasks.classification import build

SMALL = {
    "dataset": "digits",
    "network": {"name": "mlp", "hidden": [12, 10]},
    "algorithm": {"name": "BP"},
    "optimiser": {"rate": 0.01, "schedule": "constant"},
    "epochs": 2,
    "batch_size": 30,
    "parts": 3,
    "subset": 700,
    "validation": 200,
}


def worlds(**changes):
    config = Changing(**SMALL, **changes)
    parts = build(config.classification())
    return config.worlds(parts), parts


def test_classes_follow_each_other_and_none_is_lost():
    found, parts = worlds(change="classes")
    taught = [set(np.unique(world.train.labels)) for world in found]
    assert taught == [{0, 1, 2, 3}, {4, 5, 6}, {7, 8, 9}]
    assert taught == [set(np.unique(world.test.labels)) for world in found]
    assert sum(len(world.test) for world in found) == len(parts.data.test)
    assert len({len(world.train) for world in found}) == 1


def test_pixels_change_their_places_in_the_same_way_everywhere():
    found, parts = worlds(change="pixels")
    np.testing.assert_array_equal(found[0].train.inputs, parts.train.inputs)
    order = np.random.default_rng(2).permutation(parts.train.inputs[0].size)
    for split, changed in ((parts.train, found[2].train), (parts.data.test, found[2].test)):
        flat = split.inputs.reshape(len(split), -1)
        np.testing.assert_array_equal(changed.inputs.reshape(len(split), -1), flat[:, order])
        np.testing.assert_array_equal(changed.labels, split.labels)


def test_only_tests_are_distorted():
    found, parts = worlds(change="test")
    assert [world.name for world in found] == ["as trained", "noise", "rotation", "blur"]
    assert [world.train is None for world in found] == [False, True, True, True]
    clean = parts.data.test.inputs.astype(float)
    for world in found[1:]:
        assert world.test.inputs.shape == clean.shape
        assert 2 < np.abs(world.test.inputs - clean).mean() < 80
    assert np.abs(np.diff(found[3].test.inputs.astype(float), axis=1)).mean() < np.abs(np.diff(clean, axis=1)).mean()


@pytest.mark.parametrize(("change", "lines"), [("test", 0), ("classes", 3), ("pixels", 3)])
def test_a_run_measures_what_it_says(change, lines, tmp_path):
    record = Changing(**SMALL, change=change).run(tmp_path, quiet=True)
    assert record.status == "finished"
    assert record.shown == list(record.test)
    if change == "test":
        assert 0.3 < record.test["accuracy"] <= 1
        assert {"noise %", "rotation %", "blur %", "held out %"} < set(record.test)
        return
    (chart,) = record.charts
    assert len(chart.lines) == lines
    last = [line["y"][-1] for line in chart.lines.values()]
    assert record.test["accuracy"] == pytest.approx(np.mean(last) / 100)
    own = [line["y"][i] for i, line in enumerate(chart.lines.values())]
    assert record.test["just learned %"] == pytest.approx(np.mean(own))
    assert record.test["forgotten, points"] == pytest.approx(np.mean(np.subtract(own, last)[:-1]))
    assert [entry["part"] for entry in record.history] == [1, 1, 2, 2, 3, 3]


def test_more_parts_than_classes_are_refused(tmp_path):
    config = Changing(**SMALL | {"parts": 11}, change="classes")
    with pytest.raises(ConfigError, match="at most the number of classes"):
        config.run(tmp_path, quiet=True)
