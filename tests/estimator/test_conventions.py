"""scikit-learn's own checks of an estimator; none is expected to fail."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from hookean.estimator import PredictiveCodingClassifier


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Can't check dok sparse matrix:sklearn.exceptions.SkipTestWarning")
@parametrize_with_checks([PredictiveCodingClassifier()])
def test_scikit_learn_checks(estimator, check):
    check(estimator)
