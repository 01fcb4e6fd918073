"""Experiments over time: what is drawn, what a run leaves, and figures that are known beforehand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hookean.tasks import Reach, Sequences, Tracking
from hookean.tasks.build import ConfigError
from hookean.tasks.sequences import draw
from hookean.tasks.tracking import System, simulate


def test_every_third_bit_is_the_exclusive_or_of_the_two_before():
    rows = draw("xor", 50, 11, 0)
    assert rows["x"].shape == rows["y"].shape == (50, 11, 1)
    np.testing.assert_array_equal(rows["x"][:, 1:], rows["y"][:, :-1])
    bits = np.concatenate([rows["x"], rows["y"][:, -1:]], axis=1)[..., 0].astype(int)
    for k in range(0, 12, 3):
        np.testing.assert_array_equal(bits[:, k] ^ bits[:, k + 1], bits[:, k + 2])
    assert 0.4 < bits[:, 0::3].mean() < 0.6


def test_the_target_of_the_adding_problem_is_the_sum_of_one_number_of_each_half():
    rows = draw("adding", 40, 9, 1)
    values, marks = rows["x"][..., 0], rows["x"][..., 1]
    np.testing.assert_array_equal(marks[:, :4].sum(1), 1)
    np.testing.assert_array_equal(marks[:, 4:].sum(1), 1)
    np.testing.assert_allclose(rows["y"][:, 0], (values * marks).sum(1), atol=1e-6)
    assert np.var(draw("adding", 4000, 6, 2)["y"]) == pytest.approx(1 / 6, rel=0.1)


@pytest.mark.parametrize("problem", ["xor", "adding"])
def test_a_run_on_sequences(problem, tmp_path):
    record = Sequences(problem=problem, **Sequences.smoke, batch_size=50).run(tmp_path, quiet=True)
    assert record.status == "finished"
    assert record.test["test mse"] == pytest.approx(record.history[-1]["mse"])
    assert record.charts[0].lines[""]["x"] == [1.0]
    assert record.config["network"]["readout"] == ("each" if problem == "xor" else "last")
    assert record.config["algorithm"] == {"name": "BPTT", "window": None, "sliding": False}
    if problem == "xor":
        parts = record.test["mse of the determined bit"], record.test["mse of random bits"]
        assert (parts[0] + 2 * parts[1]) / 3 == pytest.approx(record.test["test mse"], rel=1e-5)


def test_other_networks_are_refused():
    with pytest.raises(ConfigError, match="elman or jordan, got mlp"):
        Sequences(network="mlp").check()
    with pytest.raises(ConfigError, match="radius must be one of"):
        Reach(radius=0.3).check()


def test_reach_finds_the_radius_of_a_linear_network(tmp_path):
    task = Reach(**Reach.smoke | {"radii": [0.8], "radius": 0.8, "activation": "identity", "double_precision": True})
    record = task.run(tmp_path, quiet=True)
    assert record.status == "finished"
    assert record.test["BPTT, factor a step at 0.8"] == pytest.approx(0.8, abs=1e-9)
    assert record.test["settled PC, factor a step at 0.8"] == pytest.approx(0.8, abs=1e-6)
    assert record.test["RTRL, largest deviation from BPTT"] < 1e-12
    assert 0 < record.test["settled PC, whole signal at 0.8"] <= 0.5
    lines = record.charts[2].lines
    assert np.isfinite(lines["PC, 2 steps"]["y"]).sum() == 2  # one lag further with every step
    assert np.isfinite(lines["temporal PC"]["y"]).sum() == 1


def test_tracking_is_worse_than_the_kalman_filter_and_better_than_nothing(tmp_path):
    record = Tracking(**Tracking.smoke).run(tmp_path, quiet=True)
    state = {name.removesuffix(", state"): value for name, value in record.test.items() if name.endswith(", state")}
    order = ["PC, whole sequence", "Kalman", "temporal PC, settled", "without observations"]
    assert [state[name] for name in order] == sorted(state[name] for name in order)
    assert record.test["Kalman, next observation"] < record.test["temporal PC, next observation"]
    assert len(record.charts) == 2


def test_a_system_is_simulated_as_it_is_written():
    keys = jax.random.split(jax.random.key(0), 3)
    A, B, C = (0.5 * jax.random.normal(k, shape) for k, shape in zip(keys, ((3, 3), (3, 2), (2, 3)), strict=True))
    quiet = simulate(System(A, B, C, 0.0, 0.0), 4, 5, 2, key=keys[0])
    z = jnp.zeros((4, 3))
    for t in range(5):
        z = z @ A.T + quiet["u"][:, t] @ B.T
        np.testing.assert_allclose(quiet["z"][:, t], z, atol=1e-6)
        np.testing.assert_allclose(quiet["x"][:, t], z @ C.T, atol=1e-6)
    noisy = simulate(System(A * 0, B * 0, C * 0, 0.3, 2.0), 2000, 5, 2, key=keys[1])
    assert float(jnp.var(noisy["z"])) == pytest.approx(0.3, rel=0.1)
    assert float(jnp.var(noisy["x"])) == pytest.approx(2.0, rel=0.1)
