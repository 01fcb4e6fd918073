"""The task `sampling`: small runs of every kind, chains that fail alone, and configs that are refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hookean.core.builders import decoder
from hookean.core.density import Gaussian
from hookean.data import MNIST
from hookean.data.dataset import Data, Split
from hookean.data.transform import Transform
from hookean.inference import Langevin
from hookean.record import Record, read_arrays
from hookean.tasks import Sampling
from hookean.tasks.build import ConfigError
from hookean.tasks.chains import Length, run_chains
from hookean.tasks.experiment import Stage
from hookean.tasks.train import Diverged

LENGTH = {"chains": 12, "mixing": 40, "looks": 10, "spacing": 20, "every": 5}
MCPC = {"name": "MCPC", "warm": 2, "mixing": 4, "samples": 3, "chain": {"rate": 0.05, "temperature": 0.1}}
LINEAR = {"name": "decoder", "hidden": [2], "activation": "identity"}
QUICK = {"epochs": 2, "batch_size": 15, "length": LENGTH, "exact": 100, "optimiser": {"rate": 0.01}}


def test_a_linear_network_is_held_against_the_closed_form(tmp_path):
    config = Sampling(network=LINEAR, algorithm=MCPC, **QUICK)
    record = config.run(tmp_path, quiet=True)
    assert record.status == "finished"
    assert record.label == "MCPC"
    assert record.parameters == 12
    test = record.test
    assert test["covariance error (standard errors)"] >= 0
    assert test["diverged chains"] == 0
    assert test["ratio"] == pytest.approx(test["earth mover's distance"] / test["of the training half"])
    assert test["effective samples"] > 0
    assert set(record.shown) <= set(test)
    (chart,) = record.charts
    assert set(chart.lines) == {"sepal length", "petal length"}
    assert chart.lines["petal length"]["y"][0] == pytest.approx(1)
    assert read_arrays(tmp_path)["histograms"].shape == (1, 3, 32, 32)
    again = config.run(tmp_path, resume=True, quiet=True)
    assert again.finished == record.finished


def test_chains_in_errors_have_the_closed_covariance(tmp_path):
    length = {"chains": 60, "mixing": 100, "looks": 10, "spacing": 40, "every": 10}
    config = Sampling(
        network=LINEAR, algorithm=MCPC, coordinates="errors", **QUICK | {"length": length, "optimiser": {"rate": 0.1}}
    )
    test = config.run(tmp_path, quiet=True).test
    # The largest of three entries in standard errors: beyond 3.6 in one of a thousand cases.
    assert test["covariance error (standard errors)"] < 3.6
    assert test["split R-hat"] < 1.1  # the noise of 40 draws a chain is near 0.08
    assert test["effective samples"] > 500


def test_the_rival_has_the_same_hidden_widths(tmp_path):
    record = Sampling(network={"hidden": [6, 5]}, algorithm="VAE", **QUICK).run(tmp_path, quiet=True)
    # 2-5-6-4 up and 2-6-5-2 down with biases, and the precision of the data.
    assert record.parameters == (2 * 5 + 5 + 5 * 6 + 6 + 6 * 4 + 4) + (2 * 6 + 6 + 6 * 5 + 5 + 5 * 2 + 2) + 1
    assert record.status == "finished"
    assert record.algorithm == "VAE"
    assert [entry["epoch"] for entry in record.history] == [1, 2]


@pytest.fixture
def strokes(monkeypatch, tmp_path):
    """Put a few images with a stroke at one of ten places where MNIST would be loaded."""
    random = np.random.default_rng(0)

    def split(n):
        images, labels = random.integers(0, 60, (n, 28, 28, 1)), np.arange(n) % 10
        for image, label in zip(images, labels, strict=True):
            image[4:24, 2 + 2 * label : 5 + 2 * label] = 255
        return Split(images.astype(np.uint8), labels.astype(np.int32))

    transform = Transform(mean=(0.5,), std=(0.5,))
    made = Data("MNIST", split(120), split(100), tuple("0123456789"), transform)
    monkeypatch.setattr(MNIST, "load", lambda self, **given: made)
    monkeypatch.setenv("HOOKEAN_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("algorithm", [MCPC, "VAE"], ids=["MCPC", "VAE"])
def test_images_run_from_training_to_pictures(algorithm, tmp_path, strokes):
    network = {"name": "decoder", "hidden": [6, 5], "squash": "tanh", "output": {"name": "gaussian", "precision": 6.0}}
    config = Sampling(
        dataset="mnist",
        network=network,
        algorithm=algorithm,
        latent=10,
        conditional="none" if algorithm == "VAE" else "class",
        subset=100,
        judge_epochs=1,
        **QUICK | {"batch_size": 50},
    )
    record = config.run(tmp_path / "run", quiet=True)
    assert record.status == "finished", record.message
    assert record.test["FID"] > 0
    assert record.test["FID 95 % ±"] > 0
    assert 1 <= record.test["inception score"] <= 10
    assert len(list((tmp_path / "cache" / "judges").iterdir())) == 1  # the next run reads it
    arrays = read_arrays(tmp_path / "run")
    assert arrays["grid"].shape == (10, 10, 28, 28)
    assert arrays["grid"].dtype == np.uint8
    assert ("film" in arrays) == (algorithm != "VAE")
    assert {images.array for images in record.images} == set(arrays)


@pytest.fixture
def stage(tmp_path):
    record = Record("sampling", "l", "a", "n", "d", 0, {}, {}, "now")
    return Stage(tmp_path, record, resume=False, quiet=True)


def drawn(stage, clamps):
    network = decoder(3, 4, hidden=(6, 5), activation=jnp.tanh, output=Gaussian(2.0), key=jax.random.key(1))
    length = Length(**LENGTH | {"chains": len(clamps)})
    return run_chains(
        stage, network, {"z": clamps}, Langevin(0.05), length, watch=lambda x: x[:, :2], key=jax.random.key(2)
    )


def test_a_diverged_chain_fails_alone(stage):
    whole = drawn(stage, jnp.ones((12, 3)))
    broken = drawn(stage, jnp.ones((12, 3)).at[4].set(jnp.nan))
    assert whole.alive.all()
    assert broken.alive.tolist() == [i != 4 for i in range(12)]
    assert whole.samples.shape == (120, 4)
    assert broken.samples.shape == (110, 4)
    np.testing.assert_array_equal(np.delete(whole.watched, 4, axis=0), broken.watched)
    assert np.isfinite(broken.samples).all()
    assert whole.film.shape == (3, 48, 4)


def test_no_chain_left_is_a_named_failure(stage):
    with pytest.raises(Diverged, match="all 12 chains"):
        drawn(stage, jnp.full((12, 3), jnp.nan))


def test_a_rate_beyond_the_limit_is_reported_as_diverged(tmp_path):
    config = Sampling(network=LINEAR, algorithm=MCPC, generation={"rate": 50.0}, **QUICK)
    record = config.run(tmp_path, quiet=True)
    assert record.status == "diverged"
    assert "generation.rate" in record.message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"algorithm": {"name": "VAE", "steps": 3}}, "no options of its own"),
        ({"algorithm": "VAE", "conditional": "class"}, "no condition"),
        ({"conditional": "parity"}, "neither odd nor even"),
        ({"generation": {"speed": 1.0}}, "no option 'speed'"),
        ({"conditional": "class", "latent": 2}, "latent must be 3"),
    ],
)
def test_configs_that_cannot_run_say_why(changes, message):
    with pytest.raises(ConfigError, match=message):
        Sampling(**changes).check()


def test_lengths_are_whole_numbers_of_draws():
    with pytest.raises(ValueError, match="multiples of every"):
        Length(mixing=15, every=10)
    with pytest.raises(ValueError, match="split R-hat"):
        Length(looks=1, spacing=70, every=10)
