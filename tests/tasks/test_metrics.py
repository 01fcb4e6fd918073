"""Metrics against scikit-learn's and against sums by hand, with a ragged last batch."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss, top_k_accuracy_score

from hookean.algorithms import BP
from hookean.core.builders import mlp
from hookean.core.density import Categorical, Gaussian
from hookean.data.dataset import Split
from hookean.tasks import metrics

SAMPLES, FEATURES, CLASSES = 53, 6, 7


@pytest.fixture(scope="module", params=["categorical", "gaussian"])
def measured(request):
    """(labels, probabilities, outputs, metrics, counts) of a network with large weights, so that it is often sure."""
    density = {"categorical": Categorical(), "gaussian": Gaussian()}[request.param]
    network = mlp(FEATURES, CLASSES, hidden=(9, 8), activation=jnp.tanh, output=density, key=jax.random.key(3))
    network = jax.tree.map(lambda leaf: 3 * leaf if eqx.is_array(leaf) else leaf, network)
    rng = np.random.default_rng(4)
    inputs = rng.normal(size=(SAMPLES, FEATURES)).astype(np.float32)
    labels = rng.integers(0, CLASSES, SAMPLES).astype(np.int32)
    outputs = []
    for sample in inputs:
        state = jnp.asarray(sample)
        for term in network.term_list:
            state = term.function(state)
        outputs.append(np.asarray(state))
    exponentials = np.exp(np.array(outputs))
    probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    dynamic, static = eqx.partition(network, eqx.is_array)
    evaluate = metrics.evaluator(BP().class_energies, lambda raw: raw, static, 16, eqx.combine)  # 53 = 3 * 16 + 5
    counts = evaluate(dynamic, Split(inputs, labels))
    return labels, probabilities, np.array(outputs), metrics.summarise(counts), counts, request.param


def test_against_scikit_learn(measured):
    labels, probabilities, _, found, counts, _ = measured
    names = list(range(CLASSES))
    assert found["samples"] == SAMPLES
    assert found["accuracy"] == pytest.approx(accuracy_score(labels, probabilities.argmax(axis=1)), abs=1e-12)
    assert found["top5"] == pytest.approx(top_k_accuracy_score(labels, probabilities, k=5, labels=names), abs=1e-12)
    assert found["accuracy"] < found["top5"] < 1  # or the two could not be told apart
    assert found["cross_entropy"] == pytest.approx(log_loss(labels, probabilities, labels=names), rel=1e-6)
    expected = confusion_matrix(labels, probabilities.argmax(axis=1), labels=names)
    np.testing.assert_array_equal(np.asarray(counts.confusion), expected)


def test_calibration_error_by_hand(measured):
    labels, probabilities, _, found, counts, _ = measured
    bins = [[] for _ in range(15)]
    for label, row in zip(labels, probabilities, strict=True):
        bins[min(int(row.max() * 15), 14)].append((row.max(), float(row.argmax() == label)))
    gaps = [abs(sum(c for c, _ in inside) - sum(r for _, r in inside)) for inside in bins]
    assert sum(bool(inside) for inside in bins) > 3
    assert found["calibration_error"] == pytest.approx(sum(gaps) / SAMPLES, rel=1e-6)
    np.testing.assert_array_equal(np.asarray(counts.count), [len(inside) for inside in bins])


def test_energy_by_hand(measured):
    labels, probabilities, outputs, found, _, output = measured
    targets = np.eye(CLASSES)[labels]
    squares = 0.5 * np.sum((targets - outputs) ** 2, axis=1)
    entropies = -np.log(probabilities[np.arange(SAMPLES), labels])
    expected = {"gaussian": squares, "categorical": entropies}[output].mean()
    assert found["energy"] == pytest.approx(expected, rel=1e-6)


def test_energies_that_are_no_numbers_are_never_right():
    energies = jnp.array([[jnp.nan] * 7, [0.0, 1, 2, 3, 4, 5, 6]])
    found = metrics.summarise(metrics.count(energies, jnp.array([0, 4]), jnp.ones(2)))
    assert (found["accuracy"], found["top5"]) == (0.0, 0.5)
