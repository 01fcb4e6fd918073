"""Experiments on graphs and on competition between units, in their smallest versions."""

import numpy as np
import pytest

from hookean.record import read_arrays
from hookean.tasks import Edges, Features, Graph, Lateral
from hookean.tasks.build import ConfigError
from hookean.tasks.lateral import statistics_of


def test_one_graph_answers_four_questions(tmp_path):
    record = Graph(**Graph.smoke).run(tmp_path, quiet=True)
    assert record.status == "finished"
    assert record.network == "graph, Full"
    assert record.test["edges"] == 94 * 93  # 64 pixels, 20 hidden units, 10 labels, every ordered pair
    assert record.shown[0] == "accuracy"
    assert {"completion mse", "reconstruction mse", "generated recognised"} <= set(record.shown)
    pictures = read_arrays(tmp_path)["answers"]
    assert pictures.shape == (5, 4, 8, 8)
    assert np.array_equal(pictures[0, :, :4], pictures[2, :, :4])  # what is clamped stays
    assert np.any(pictures[0, :, 4:] != pictures[2, :, 4:])


def test_a_graph_that_is_asked_little_shows_the_classes_that_there_are(tmp_path):
    changes = {"asked": 2, "tested": 20, "subset": 150, "validation": 20, "network": {"name": "graph", "hidden": [4]}}
    record = Graph(**Graph.smoke | changes).run(tmp_path, quiet=True)
    assert record.status == "finished"
    assert read_arrays(tmp_path)["answers"].shape == (5, 2, 8, 8)


def test_backpropagation_needs_a_graph_without_cycles(tmp_path):
    with pytest.raises(ConfigError, match="cycle"):
        Graph(**Graph.smoke | {"algorithm": {"name": "BP"}}).run(tmp_path, quiet=True)


def test_edges_counts_what_is_there(tmp_path):
    record = Edges(**Edges.smoke).run(tmp_path, quiet=True)
    assert record.status == "finished"
    (couplings,) = record.charts[0].lines["sparse"]["x"]
    assert [couplings] == record.charts[0].lines["dense"]["x"]
    assert couplings == pytest.approx(0.2 * 100 * 99, rel=0.1)


@pytest.mark.parametrize("rule", ["Foldiak", "SparseCoding"])
def test_rules_learn_features(rule, tmp_path):
    kind = "binary" if rule == "Foldiak" else "centred"
    options = Features.smoke | {"rule": {"name": rule, "units": 8}, "inputs": kind}
    record = Features(**options).run(tmp_path, quiet=True)
    assert record.status == "finished"
    assert record.test["readout accuracy"] > 0.2
    assert read_arrays(tmp_path)["filters"].shape == (1, 8, 8, 8)


def test_competition_in_a_perceptron(tmp_path):
    record = Lateral(**Lateral.smoke).run(tmp_path, quiet=True)
    assert record.status == "finished"
    assert record.label == "KWinners"
    assert record.test["active units"] <= 0.1 + 1e-9  # two of twenty
    assert read_arrays(tmp_path)["filters"].shape == (1, 4, 8, 8)


def test_statistics_of_units():
    one = np.eye(4)[[0, 1, 2, 3, 0, 1]]
    found = statistics_of(one)
    assert found["active units"] == 0.25
    assert found["sparseness"] == pytest.approx(0.75)
    equal = statistics_of(np.outer([1.0, 2.0, 3.0], np.ones(4)))
    assert equal["sparseness"] == pytest.approx(0)
    assert equal["correlation"] == pytest.approx(1)
