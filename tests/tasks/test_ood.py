"""The task `ood` in small: digits against spoiled digits; what is recorded, and what is said when it fails."""

import numpy as np
import pytest

from hookean.record import read_arrays
from hookean.tasks import OutOfDistribution
from hookean.tasks.build import ConfigError
from hookean.tasks.config import configure
from hookean.tasks.grid import run_all

SMALL = {
    "dataset": "digits",
    "foreign": ["noise", "rotation"],
    "network": {"name": "mlp", "hidden": [24, 16], "output": "Categorical"},
    "algorithm": {"name": "PC", "steps": 4},
    "optimiser": {"name": "adamw", "rate": 0.01},
    "epochs": 4,
    "subset": None,
    "steps": 3,
    "rate": 0.1,
    "samples": 120,
    "resamples": 20,
    "noise": 0.6,
}


def test_foreign_digits_are_told_from_known_ones(tmp_path):
    config = configure(OutOfDistribution, SMALL)
    record = config.run(tmp_path, quiet=True)
    assert record.status == "finished"
    assert record.test["accuracy"] > 0.8
    assert set(record.shown) <= set(record.test)
    arrays = read_arrays(tmp_path)
    names, sets = arrays["scores"].tolist(), arrays["sets"].tolist()
    assert sets == ["Digits, noise", "Digits, rotation"]
    assert {"energy before", "energy after", "energy after (h1)", "label-free energy", "ODIN", "Mahalanobis"} < set(
        names
    )
    for other in sets:
        for name in ("max softmax", "energy after", "Mahalanobis", "entropy"):
            assert record.test[f"auroc {name}, {other}"] > 0.6, (name, other)
        # With cross entropy the energy before inference has the order of the max softmax.
        assert abs(record.test[f"energy before over max softmax, {other}"]) < 1e-3
        low, value, high = (
            record.test[f"energy after over max softmax{part}, {other}"] for part in (" low", "", " high")
        )
        assert low <= value <= high
        assert record.test[f"mean energy after, {other}"] < record.test[f"mean energy before, {other}"]
    assert arrays["intervals"].shape == (3, len(names), 2, 2)
    assert (arrays["intervals"][..., 0] <= arrays["intervals"][..., 1]).all()
    (before, after), (images,) = record.charts, record.images
    assert list(before.lines) == list(after.lines) == images.rows == ["Digits", *sets]
    assert sum(after.lines["Digits"]["y"]) == pytest.approx(1)
    assert arrays["samples"].shape == (3, 8, 8, 8)
    assert config.run(tmp_path, resume=True, quiet=True).finished == record.finished


def test_a_diverged_cell_is_named_and_the_others_go_on(tmp_path):
    values = SMALL | {"epochs": 1, "samples": 20, "steps": 60}
    cells = [values | {"label": "too fast", "rate": 1e9}, values | {"label": "BP", "algorithm": "BP"}]
    first, second = run_all([configure(OutOfDistribution, cell) for cell in cells], tmp_path, resume=False, quiet=True)
    assert (first.status, second.status) == ("diverged", "finished")
    assert "Lower rate" in first.message
    assert first.test is None
    assert second.algorithm == "BP"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"foreign": ["fashion_mnst"]}, "fashion_mnst.*FashionMNIST"),
        ({"foreign": []}, "foreign"),
        ({"foreign": ["noise", "Digits"]}, "foreign: Digits is the known set"),
        ({"foreign": ["mnist", "blur", "MNIST"]}, "foreign: the sets must differ"),
        ({"foreign": ["noise", "noise"]}, "foreign: the sets must differ"),
        ({"network": {"name": "mlp", "hiden": [3]}}, "hiden.*hidden"),
    ],
)
def test_mistakes_are_said_before_anything_is_loaded(change, message):
    with pytest.raises(ConfigError, match=message):
        configure(OutOfDistribution, SMALL | change).check()


def test_the_known_set_must_be_grey_images(tmp_path):
    values = SMALL | {"dataset": "iris"}
    with pytest.raises(ConfigError, match="grey images"):
        configure(OutOfDistribution, values | {"validation": 30}).run(tmp_path, quiet=True)
    assert not np.any([path.suffix == ".safetensors" for path in tmp_path.iterdir()])


def test_foreign_sets_must_be_images(tmp_path):
    with pytest.raises(ConfigError, match="foreign: the sets must hold images, got Iris"):
        configure(OutOfDistribution, SMALL | {"foreign": ["noise", "iris"]}).run(tmp_path, quiet=True)
    assert not np.any([path.suffix == ".safetensors" for path in tmp_path.iterdir()])
