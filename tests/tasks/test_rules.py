"""The comparison of rules: the choice of a rate, and the properties that are measured."""

import numpy as np
import pytest

from hookean.report.table import summary_table
from hookean.tasks import Properties, Tuned
from hookean.tasks.build import ConfigError

SMALL = {
    "dataset": "digits",
    "network": {"name": "mlp", "hidden": [8, 6]},
    "batch_size": 60,
    "subset": 500,
    "validation": 150,
    "epochs": 2,
}


def test_the_rate_with_the_best_held_out_accuracy_is_tested(tmp_path):
    task = Tuned(**SMALL, algorithm="BP", optimiser={"name": "sgd", "schedule": "constant"}, rates=[1e-6, 0.3, 1e35])
    record = task.run(tmp_path / "all", quiet=True)
    (line,) = record.charts[0].lines.values()
    assert line["x"] == [1e-6, 0.3, 1e35]
    assert line["y"][2] == 0.0, "a rate that diverges counts as tried"
    assert record.test["rate"] == 0.3 == line["x"][int(np.argmax(line["y"]))]
    alone = Tuned(**SMALL, algorithm="BP", optimiser={"name": "sgd", "schedule": "constant"}, rates=[0.3])
    assert alone.run(tmp_path / "one", quiet=True).test["accuracy"] == record.test["accuracy"]
    table = summary_table([record])
    cells = dict(zip(table.header, table.rows[0], strict=True))
    assert (cells["passes"], cells["not local"]) == ("2", "weight transport, backward pass, 2 phases")
    assert float(cells["step MiB"]) > 0


def test_a_rate_beside_rates_is_refused():
    with pytest.raises(ConfigError, match="Give rates instead"):
        Tuned(**SMALL, optimiser={"rate": 0.1}).check()
    with pytest.raises(ValueError, match="differ from each other"):
        Tuned(**SMALL, rates=[0.1, 0.1])


@pytest.mark.parametrize(
    ("algorithm", "turns", "moves"),
    [({"name": "PC", "steps": 1}, True, True), ({"name": "DFA"}, True, False), ({"name": "SoftHebb"}, False, False)],
)
def test_properties_are_measured_where_the_rule_has_them(algorithm, turns, moves, tmp_path):
    options = SMALL | {"network": {"name": "mlp", "hidden": [6]}, "angles": [90], "shares": [0.5], "silenced": [1.0]}
    record = Properties(**options, algorithm=algorithm, optimiser={"rate": 0.01}).run(tmp_path, quiet=True)
    assert record.status == "finished"
    assert ("feedback turned by 90°, points" in record.test) == turns
    assert ("0.5 of the units a step, points" in record.test) == moves
    lost = 100 * record.test["accuracy"] + record.test["1 of the units lost, points in the end"]
    assert lost < 20, "without hidden units there is nothing but the bias of the output"
    assert [entry["epoch"] for entry in record.history] == [1, 2]
    if not moves:
        assert record.test["products awaited"] == {"DFA": 2, "SoftHebb": 0}[algorithm["name"]]
    assert set(record.shown) >= {"accuracy", "products awaited"}


def test_properties_refuse_convolutions():
    with pytest.raises(ConfigError, match="network: vgg5 has convolutions"):
        Properties(dataset="mnist", network="vgg5").check()
    Properties(network="residual_mlp").check()


def test_properties_refuse_what_is_no_share():
    with pytest.raises(ValueError, match="shares must hold numbers above 0, at most 1"):
        Properties(shares=[2.0])
