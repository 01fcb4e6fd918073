"""The tasks `recall` and `reconstruction` in small: what they measure, on digits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hookean.core.builders import decoder
from hookean.core.initialise import Given, Zero
from hookean.core.layers import identity
from hookean.inference.gradient import Gradient
from hookean.record import read_arrays
from hookean.tasks import Recall, Reconstruction
from hookean.tasks.build import ConfigError
from hookean.tasks.memories import CORRUPTIONS, hopfield, nearest
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


def test_corruptions_hide_what_they_say():
    images = jax.random.uniform(jax.random.key(0), (3, 6 * 6 * 2))
    shape = (3, 6, 6, 2)
    cues = {name: make(images, 6, 0.2, jax.random.key(1)) for name, make in CORRUPTIONS.items()}
    lower = np.ones(shape)
    lower[:, 3:] = 0
    centre = np.ones(shape)
    centre[:, 2:4, 2:4] = 0  # a side of 6 has no square of exactly half
    for name, mask in (("lower half", lower), ("centre", np.asarray(cues["centre"].held).reshape(shape))):
        np.testing.assert_array_equal(cues[name].held.reshape(shape), mask)
        np.testing.assert_array_equal(cues[name].values, mask.reshape(3, -1) * images)
    assert np.asarray(cues["centre"].held).reshape(shape)[:, 2:4, 2:4].sum() == 0
    assert np.asarray(cues["centre"].held).reshape(shape)[:, [0, -1]].min() == 1
    pixels = np.asarray(cues["pixels"].held).reshape(shape)
    np.testing.assert_array_equal(pixels[..., 0], pixels[..., 1])
    assert 0 < pixels.mean() < 0.3
    assert cues["noise"].seen.min() == 1
    assert cues["noise"].held.max() == 0
    guess = jnp.full_like(images, 1.5)
    missing = np.asarray(cues["lower half"].held) == 0
    filled = cues["lower half"].filled(guess)
    np.testing.assert_array_equal(filled, np.where(missing, 1.0, images))
    expected = [np.mean((1 - np.asarray(images[i])[missing[i]]) ** 2) for i in range(3)]
    np.testing.assert_allclose(cues["lower half"].error(filled, images), expected)


def test_the_hopfield_network_gives_the_posterior_mean_under_the_noise():
    """One step: the mean of the stored images, weighed by the likelihood of the noise on what is seen."""
    images = jax.random.uniform(jax.random.key(0), (5, 12))
    cues = CORRUPTIONS["noise"](images[:2], 2, 0.3, jax.random.key(1))
    cues = cues._replace(seen=cues.seen.at[0, 4:].set(0))
    ((_, guess),) = hopfield(images, beta=1 / 0.3**2, steps=1)(cues)
    for i, visible in enumerate((4, 12)):
        distances = np.sum((np.asarray(cues.values)[i, :visible] - np.asarray(images)[:, :visible]) ** 2, axis=1)
        weights = np.exp(-0.5 * distances / 0.3**2)
        np.testing.assert_allclose(guess[i], weights @ np.asarray(images) / weights.sum(), rtol=1e-10)
        ((_, found),) = nearest(images)(cues)
        np.testing.assert_allclose(found[i], images[np.argmin(distances)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": [3, 4]}, "one number for each of images"),
        ({"corruptions": ["fog"]}, "fog"),
        ({"images": [5000]}, "images must be at most"),
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
