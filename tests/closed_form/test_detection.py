"""AUROC, AUPR and FPR95 against scikit-learn and by hand, with ties; intervals that cover what they should."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from hookean.tasks import detection


def samples(ties):
    """Known and foreign scores, unequal in number; with ties they take few values."""
    random = np.random.default_rng(3)
    known, foreign = random.normal(0, 1, 57), random.normal(0.7, 1.5, 83)
    return (np.round(known), np.round(foreign)) if ties else (known, foreign)


@pytest.mark.parametrize("ties", [False, True])
def test_on_one_sample_the_measures_are_those_of_scikit_learn(ties):
    known, foreign = samples(ties)
    labels, scores = np.repeat([0, 1], [57, 83]), np.concatenate([known, foreign])
    assert detection.auroc(known, foreign) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert detection.aupr(known, foreign) == pytest.approx(average_precision_score(labels, scores), abs=1e-12)
    passed, kept, _ = roc_curve(1 - labels, -scores, drop_intermediate=False)  # here the known ones are the positives
    assert detection.fpr95(known, foreign) == pytest.approx(passed[np.argmax(kept >= 0.95)], abs=1e-12)


def test_resamples_are_measured_one_by_one():
    known, foreign = samples(ties=True)
    many = np.stack([known, known[::-1] - 1, known * 2]), np.stack([foreign, foreign + 1, foreign - 3])
    for measure in detection.MEASURES.values():
        np.testing.assert_allclose(measure(*many), [measure(*pair) for pair in zip(*many, strict=True)])


def test_an_interval_covers_what_it_estimates():
    """Unit normals two deviations apart have the AUROC Phi(sqrt 2); of 40 intervals of 95 % few miss it."""
    missed = 0
    for seed in range(40):
        random = np.random.default_rng(seed)
        known, foreign = random.normal(0, 1, 150), random.normal(2, 1, 200)
        low, high = detection.interval(detection.auroc, known, foreign, resamples=200, seed=seed)
        missed += not low <= 0.92135 <= high
    assert missed <= 7  # of 40 at 5 %: more than 7 has probability 0.001


def test_a_difference_is_paired():
    """Two scores that differ by little noise: their difference is known far better than either of them."""
    random = np.random.default_rng(0)
    known, foreign = random.normal(0, 1, 200), random.normal(1, 1, 300)
    others = known + random.normal(0, 0.02, 200), foreign + random.normal(0, 0.02, 300)
    value, low, high = detection.difference((known, others[0]), (foreign, others[1]), resamples=200, seed=1)
    alone = detection.interval(detection.auroc, known, foreign, resamples=200, seed=1)
    assert value == pytest.approx(detection.auroc(known, foreign) - detection.auroc(*others))
    assert low <= value <= high
    assert high - low < 0.1 * (alone[1] - alone[0])


def test_the_lowest_quartile_is_of_all_samples_together():
    known, foreign = np.arange(12.0), np.arange(0.5, 12.5)
    high = np.sort(np.concatenate([known, foreign]))[-6:]
    expected = roc_auc_score(high % 1 > 0, high)
    assert detection.lowest_quartile(known, foreign) == pytest.approx(expected)
    assert np.isnan(detection.lowest_quartile(known, foreign + 100))
