"""The tasks `recall` and `reconstruction` in small: what they measure, on digits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hookean.cli import _entry, _presets
from hookean.core.builders import decoder
from hookean.core.initialise import Given, Zero
from hookean.core.layers import identity
from hookean.inference.gradient import Gradient
from hookean.record import read_arrays
from hookean.tasks import Recall, Reconstruction
from hookean.tasks.build import ConfigError
from hookean.tasks.grid import study
from hookean.tasks.reconstruction import infer_and_decode

RECALL = Recall.smoke | {"images": [12], "epochs": [150], "optimiser": {"rate": 0.01, "schedule": "constant"}}


def test_a_decoder_recalls_digits_that_it_has_stored_and_no_others(tmp_path):
    config = Recall(**RECALL, plain_steps=20, plain_rate=0.05)
    record = config.run(tmp_path, quiet=True)
    assert record.status == "finished", record.message
    test = record.test
    for name in ("noise", "lower half"):
        assert test[f"mse from {name}, N = 12"] < 0.6 * test[f"mse of images never stored from {name}, N = 12"]
        assert test[f"mse from {name}, N = 12"] <= test[f"largest mse from {name}, N = 12"]
        assert test[f"steps from {name}, N = 12"] == config.steps
    assert set(record.shown) <= set(test)
    lines = next(chart for chart in record.charts if chart.title == "During recall from noise, N = 12").lines
    assert lines[""]["y"][-1] < lines[""]["y"][0]
    assert len(lines["plain gradient on states"]["y"]) == 20
    arrays = read_arrays(tmp_path)
    assert arrays["recall_images"].shape == (5, 3, 4, 4) == (len(record.images[0].rows), 3, 4, 4)
    assert arrays["recall_film"].shape[0] == len(record.images[1].rows) == 2
    assert config.run(tmp_path, resume=True, quiet=True).finished == record.finished


def test_rivals_hold_every_image_they_store(tmp_path):
    for method in ("hopfield", "nearest"):
        record = Recall(**RECALL | {"method": method, "images": [12, 200], "pictures": 0}).run(
            tmp_path / method, quiet=True
        )
        assert record.test["recalled from noise, N = 12"] == record.test["recalled from lower half, N = 12"] == 1
        assert record.test["mse of images never stored from noise, N = 12"] > 0.01
    autoencoder = Recall(**RECALL | {"method": "autoencoder", "steps": 20, "pictures": 0})
    record = autoencoder.run(tmp_path / "autoencoder", quiet=True)
    stored, others = (record.test[f"mse {which}from lower half, N = 12"] for which in ("", "of images never stored "))
    assert stored < 0.5 * others


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": [3, 4]}, "one number for each of images"),
        ({"corruptions": ["fog"]}, "fog"),
        ({"images": [5000]}, "images must be at most"),
        ({"algorithm": {"name": "IPC"}}, "keep_states needs PC.*keep_states=false"),
        ({"algorithm": {"forward_update": True}}, "forward_update cannot start"),
    ],
)
def test_a_recall_that_cannot_be_is_refused(change, message, tmp_path):
    with pytest.raises((ConfigError, ValueError), match=message):
        Recall(**RECALL | change).run(tmp_path, quiet=True)


@pytest.mark.parametrize("network", ["decoder", "autoencoder"])
def test_digits_are_reconstructed(network, tmp_path):
    algorithm = {"name": "PC", "steps": 20, "initial": "Zero", "solver": {"rate": 0.2}}
    config = Reconstruction(
        **Reconstruction.smoke
        | {
            "network": {"name": network, "hidden": [24, 20], "activation": "tanh"},
            "algorithm": algorithm if network == "decoder" else {"name": "BP"},
            "optimiser": {"rate": 0.01, "schedule": "constant"},
            "epochs": 8,
            "pictures": 4,
        }
    )
    record = config.run(tmp_path, quiet=True)
    assert record.status == "finished", record.message
    curve = record.charts[0].lines[""]["y"]
    assert len(curve) == 8
    assert curve[-1] < 0.8 * curve[0]
    assert record.test["mse x 1000"] == pytest.approx(1000 * curve[-1], rel=0.2)
    assert record.test["mse x 1000"] < 80  # the mean image has 71 on these digits, a black one 190
    arrays = read_arrays(tmp_path)
    assert arrays["reconstructions"].shape == (2, 4, 8, 8)
    pair = arrays["reconstructions"] / 255
    inside = (pair[1] > 0) & (pair[1] < 1)
    np.testing.assert_allclose(arrays["reconstruction_errors"][0][inside], (pair[0] - pair[1])[inside], atol=0.005)


def test_a_linear_decoder_reconstructs_by_projection_from_any_given_states():
    """What a linear decoder can make, it reconstructs once its latents have settled, from zero or elsewhere."""
    network = decoder(2, 6, hidden=(3, 4), activation=identity, key=jax.random.key(3))
    push = jax.jacobian(lambda z: network.forward({"z": z})["x"])(jnp.zeros(2))
    offset = network.forward({"z": jnp.zeros(2)})["x"]
    images = jax.random.normal(jax.random.key(4), (3, 2)) @ push.T + offset
    start = jax.vmap(lambda z: network.forward({"z": z}))(jnp.ones((3, 2)))
    for initial in (Zero(), Given({name: start[name] for name in ("z", "h1", "h2")})):
        made = infer_and_decode(network, images, solver=Gradient(0.3, 0.9), steps=1500, initial=initial)
        np.testing.assert_allclose(made, images, atol=1e-5)
    short = infer_and_decode(network, images, solver=Gradient(0.3), steps=3, initial=Zero())
    assert float(jnp.abs(short - images).max()) > 1e-3


def test_a_reconstruction_that_cannot_be_is_refused(tmp_path):
    for change, message in (
        ({"network": {"name": "mlp"}}, "decoder or autoencoder"),
        ({"algorithm": {"name": "BP"}}, "free latent"),
        ({"latent": [4, 4]}, "one number, or height, width and channels"),
        ({"dataset": "iris"}, "must hold images"),
        ({"validation": 100_000}, "subset or validation"),
    ):
        with pytest.raises(ConfigError, match=message):
            Reconstruction(**Reconstruction.smoke | change).run(tmp_path / message, quiet=True)


def test_presets_of_both_tasks_are_valid_and_tell_their_runs_apart():
    found = set()
    for name in _presets():
        entry = _entry(name)
        if entry.task in (Recall, Reconstruction):
            found.add(name)
            configs = study(entry.task, entry.values, {}, 1)
            for config in configs:
                config.check()
            if entry.task is Reconstruction:
                assert {config.optimiser.schedule for config in configs} == {"constant"}
    assert found == {
        "recall-published",
        "recall-small",
        "recall-capacity-small",
        "reconstruction-celeba",
        *(f"reconstruction-{data}{size}" for data in ("mnist", "fashion", "cifar10") for size in ("", "-small")),
    }
