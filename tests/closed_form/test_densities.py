"""Energies of every density worked out by hand, with the log-normaliser of a learned precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hookean.core.density import DENSITIES, Bernoulli, Categorical, Gaussian
from hookean.core.precision import DiagonalPrecision, FullPrecision, ScalarPrecision, ScaledPrecision

LOG = np.log
STATE, PREDICTION = jnp.array([2.0, -3.0]), jnp.array([1.0, -1.0])  # the error is [1, -2]
MATRIX = jnp.array([[2.0, 1.0], [1.0, 3.0]])  # determinant 5
ENERGIES = {
    "one": (Gaussian(), 2.5),
    "scalar": (Gaussian(2.0), 5.0),
    "scalar, object": (Gaussian(ScalarPrecision(0.5)), 1.25),
    "scalar, learned": (Gaussian(ScalarPrecision(2.0, learned=True)), 5.0 - LOG(2)),
    "diagonal": (Gaussian(DiagonalPrecision(jnp.array([2.0, 3.0]))), 7.0),
    "diagonal, learned": (Gaussian(DiagonalPrecision(jnp.array([2.0, 3.0]), learned=True)), 7.0 - LOG(6) / 2),
    "full": (Gaussian(FullPrecision(MATRIX)), 5.0),  # (2 - 2 - 2 + 12) / 2
    "full, learned": (Gaussian(FullPrecision(MATRIX, learned=True)), 5.0 - LOG(5) / 2),
}


@pytest.mark.parametrize("name", ENERGIES)
def test_gaussian(name):
    density, expected = ENERGIES[name]
    np.testing.assert_allclose(density.energy(STATE, PREDICTION), expected, atol=1e-14)
    assert density.learns() == ("learned" in name)
    np.testing.assert_allclose(density.mean(PREDICTION), PREDICTION, atol=0)


def test_channel_precision_counts_every_pixel():
    """Two pixels of two channels: the log-normaliser counts each channel's precision twice."""
    density = Gaussian(DiagonalPrecision(jnp.array([2.0, 3.0]), learned=True))
    state = jnp.array([[1.0, 2.0], [0.0, -1.0]])
    expected = 0.5 * (2 * 1 + 3 * 4 + 0 + 3 * 1) - 0.5 * 2 * LOG(6)
    np.testing.assert_allclose(density.energy(state, jnp.zeros((2, 2))), expected, atol=1e-14)


def test_full_precision_over_an_image_is_over_its_flattened_units():
    matrix = np.diag([1.0, 2.0, 3.0, 4.0]) + 0.1
    state = np.array([[1.0, -2.0], [0.5, 3.0]])
    energy = Gaussian(FullPrecision(jnp.array(matrix))).energy(jnp.array(state), jnp.zeros((2, 2)))
    np.testing.assert_allclose(energy, 0.5 * state.ravel() @ matrix @ state.ravel(), atol=1e-13)


@pytest.mark.parametrize("precision", [ScalarPrecision, DiagonalPrecision, FullPrecision])
def test_learned_precision_starts_at_the_given_value(precision):
    given = {"ScalarPrecision": 2.0, "DiagonalPrecision": jnp.array([2.0, 3.0]), "FullPrecision": MATRIX}
    value = given[precision.__name__]
    fixed, learned = precision(value), precision(value, learned=True)
    np.testing.assert_allclose(learned.times(STATE), fixed.times(STATE), atol=1e-14)
    np.testing.assert_allclose(learned.log_determinant(2), fixed.log_determinant(2), atol=1e-14)


LOGITS = jnp.log(jnp.array([1.0, 2.0, 5.0])) + 3.0  # softmax: 1/8, 2/8, 5/8, whatever is added to all


def test_categorical():
    density = Categorical()
    np.testing.assert_allclose(density.energy(jnp.array([0.0, 1.0, 0.0]), LOGITS), LOG(4), atol=1e-14)
    soft = jnp.array([0.5, 0.25, 0.25])
    np.testing.assert_allclose(density.energy(soft, LOGITS), LOG(8) / 2 + LOG(4) / 4 + LOG(1.6) / 4, atol=1e-14)
    np.testing.assert_allclose(density.mean(LOGITS), [0.125, 0.25, 0.625], atol=1e-14)
    assert not density.learns()
    assert not density.rests_at_prediction


def test_bernoulli():
    density = Bernoulli()
    logits = jnp.log(jnp.array([3.0, 1.0, 0.25]))  # probabilities 3/4, 1/2, 1/5
    energy = density.energy(jnp.array([1.0, 0.0, 0.0]), logits)
    np.testing.assert_allclose(energy, LOG(4 / 3) + LOG(2) + LOG(5 / 4), atol=1e-14)
    np.testing.assert_allclose(density.energy(jnp.array([0.3, 0.3, 0.3]), jnp.zeros(3)), 3 * LOG(2), atol=1e-14)
    np.testing.assert_allclose(density.mean(logits), [0.75, 0.5, 0.2], atol=1e-14)
    assert not density.learns()
    assert not density.rests_at_prediction


def test_every_named_density_is_worked_out_here():
    assert set(DENSITIES.values()) == {Gaussian, Categorical, Bernoulli}


@pytest.mark.parametrize("name", ["gaussian", "diagonal", "full", "learned", "categorical", "bernoulli"])
def test_root_times_its_transpose_is_the_curvature_in_the_prediction(name):
    diagonal, full = jnp.array([0.5, 1.0, 2.0]), jnp.array([[2.0, 0.3, 0.1], [0.3, 1.5, -0.2], [0.1, -0.2, 1.0]])
    density = {
        "gaussian": Gaussian(0.7),
        "diagonal": Gaussian(DiagonalPrecision(diagonal)),
        "full": Gaussian(FullPrecision(full)),
        "learned": Gaussian(FullPrecision(full, learned=True)),
        "categorical": Categorical(),
        "bernoulli": Bernoulli(),
    }[name]
    state = jnp.array([0.0, 1.0, 0.0])
    prediction = jnp.array([0.4, -1.2, 0.9])
    curvature = jax.hessian(density.energy, argnums=1)(state, prediction)
    root = jax.jacobian(lambda v: density.curvature_root(prediction, v))(jnp.zeros(3))
    np.testing.assert_allclose(root @ root.T, curvature, atol=1e-12)


@pytest.mark.parametrize("learned", [False, True])
def test_solving_undoes_a_precision(learned):
    full = jnp.array([[2.0, 0.3], [0.3, 1.5]])
    made = [
        ScalarPrecision(0.7, learned=learned),
        DiagonalPrecision(jnp.array([0.5, 3.0]), learned=learned),
        FullPrecision(full, learned=learned),
    ]
    for precision in (*made, *(ScaledPrecision(p, 1.7) for p in made)):
        error = jnp.array([0.3, -1.1])
        np.testing.assert_allclose(precision.solve(precision.times(error)), error, atol=1e-12)
    for precision in made:
        scaled = ScaledPrecision(precision, 1.7)
        assert scaled.learned is learned
        np.testing.assert_allclose(scaled.times(jnp.ones(2)), 1.7 * precision.times(jnp.ones(2)), atol=1e-12)
        np.testing.assert_allclose(
            scaled.log_determinant(2), precision.log_determinant(2) + 2 * np.log(1.7), atol=1e-12
        )
