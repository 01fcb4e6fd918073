"""What the estimator promises beyond the conventions: accuracy, repeatability, and clear refusals."""

import pickle

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from hookean import estimator as module
from hookean.core.network import Network
from hookean.estimator import PredictiveCodingClassifier
from hookean.registry import UnknownName
from hookean.tasks.build import ConfigError
from hookean.tasks.train import Diverged

SMALL = {"hidden_layer_sizes": (12, 8), "max_epochs": 20, "learning_rate": 1e-2, "random_state": 0}


@pytest.fixture(scope="module")
def iris():
    features, labels = load_iris(return_X_y=True)
    return StandardScaler().fit_transform(features), labels


def small(**options):
    return PredictiveCodingClassifier(**(SMALL | options))


@pytest.mark.parametrize("algorithm", ["PC", "BP"])
def test_digits_in_a_pipeline(algorithm):
    train, test, labels, asked = train_test_split(*load_digits(return_X_y=True), random_state=0, test_size=0.2)
    network = PredictiveCodingClassifier(algorithm=algorithm, max_epochs=20, random_state=0)
    model = make_pipeline(MinMaxScaler(feature_range=(-1, 1)), network).fit(train, labels)
    assert model.score(test, asked) >= 0.95
    curve = model[-1].loss_curve_
    assert len(curve) == model[-1].n_iter_ == 20
    assert curve[-1] < 0.2 * curve[0]


def test_the_algorithm_is_the_one_that_was_named(iris):
    fitted = {name: small(algorithm=name, max_epochs=3).fit(*iris) for name in ("PC", "BP", "ipc")}
    outputs = {name: model.predict_proba(iris[0]) for name, model in fitted.items()}
    assert not np.allclose(outputs["PC"], outputs["BP"], atol=1e-4)
    assert not np.allclose(outputs["PC"], outputs["ipc"], atol=1e-4)


def test_options_reach_the_algorithm(iris):
    plain = small(max_epochs=3).fit(*iris)
    fast = small(max_epochs=3, algorithm_options={"steps": 3, "solver": {"rate": 0.3}}).fit(*iris)
    assert not np.allclose(plain.predict_proba(iris[0]), fast.predict_proba(iris[0]), atol=1e-4)


def test_clone_takes_the_arguments_and_no_results(iris):
    model = small(algorithm="CN", algorithm_options={"steps": 4}, hidden_layer_sizes=[5], max_epochs=1)
    copy = clone(model.fit(*iris))
    assert copy.get_params() == model.get_params()
    assert not hasattr(copy, "network_")


def test_grid_search_over_algorithms(iris):
    grid = {"algorithm": ["PC", "BP"], "learning_rate": [1e-6, 1e-2]}
    search = GridSearchCV(small(), grid, cv=2).fit(*iris)
    assert search.best_params_["learning_rate"] == 1e-2
    assert search.best_score_ > 0.85
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_string_labels_and_data_frames(iris):
    pandas = pytest.importorskip("pandas")
    names = ["sepal length", "sepal width", "petal length", "petal width"]
    species = np.array(["setosa", "versicolor", "virginica"], dtype=object)
    frame = pandas.DataFrame(iris[0], columns=names)
    model = small().fit(frame, pandas.Series(species[iris[1]]))
    assert list(model.feature_names_in_) == names
    assert list(model.classes_) == ["setosa", "versicolor", "virginica"]
    assert np.mean(model.predict(frame) == species[iris[1]]) > 0.9
    np.testing.assert_array_equal(small().fit(*iris).predict(iris[0]), np.searchsorted(species, model.predict(frame)))
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[names[::-1]])


@pytest.mark.parametrize("output", ["categorical", "gaussian"])
def test_probabilities(iris, output):
    model = small(output=output).fit(*iris)
    probabilities = model.predict_proba(iris[0])
    assert probabilities.shape == (150, 3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(model.classes_[probabilities.argmax(axis=1)], model.predict(iris[0]))
    np.testing.assert_allclose(np.log(probabilities), model.predict_log_proba(iris[0]), atol=1e-5)
    # By hand: the softmax of what the last layer gives.
    x = jnp.asarray(iris[0][0].astype(np.float32))
    for term in model.network_.term_list:
        x = term.function(x)
    np.testing.assert_allclose(probabilities[0], np.exp(x) / np.exp(x).sum(), rtol=1e-5)


def test_same_seed_same_network(iris):
    one, other, third = (small(max_epochs=2, random_state=s).fit(*iris).predict_proba(iris[0]) for s in (1, 1, 2))
    np.testing.assert_array_equal(one, other)
    assert not np.allclose(one, third, atol=1e-3)


def test_a_step_from_the_store_trains_as_a_new_one(iris, monkeypatch):
    model = small(max_epochs=2)
    reused = (model.fit(*iris), model.fit(*iris))[1].predict_proba(iris[0])
    monkeypatch.setattr(module, "_STEPS", {})
    np.testing.assert_array_equal(model.fit(*iris).predict_proba(iris[0]), reused)
    assert len(module._STEPS) == 1


@pytest.mark.parametrize(
    "change", [{"learning_rate": 1e-4}, {"algorithm_options": {"steps": 2}}, {"activation": "relu"}]
)
def test_a_stored_step_serves_no_other_settings(iris, monkeypatch, change):
    monkeypatch.setattr(module, "_STEPS", {})
    small(max_epochs=2).fit(*iris)
    after = small(max_epochs=2, **change).fit(*iris).predict_proba(iris[0])
    monkeypatch.setattr(module, "_STEPS", {})
    np.testing.assert_array_equal(small(max_epochs=2, **change).fit(*iris).predict_proba(iris[0]), after)


@pytest.mark.parametrize("activation", ["gelu", "relu", "tanh", "identity"])
def test_pickling_keeps_the_network(iris, activation):
    model = small(max_epochs=1, activation=activation).fit(*iris)
    expected = model.predict_proba(iris[0])
    packed = pickle.dumps(model)
    model.set_params(hidden_layer_sizes=(3,), activation="sigmoid")
    again = pickle.loads(packed)
    assert isinstance(again.network_, Network)
    np.testing.assert_array_equal(again.predict_proba(iris[0]), expected)
    # A change of the arguments after fitting is for the next fit.
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict_proba(iris[0]), expected)


def test_early_stopping_keeps_the_best_epoch(iris):
    stopped = small(max_epochs=60, early_stopping=True, validation_fraction=0.2, n_iter_no_change=4).fit(*iris)
    scores = stopped.validation_scores_
    best = int(np.argmax(scores))
    assert stopped.n_iter_ == len(scores) == best + 1 + 4 < 60
    until = small(max_epochs=best + 1, early_stopping=True, validation_fraction=0.2).fit(*iris)
    np.testing.assert_array_equal(until.predict_proba(iris[0]), stopped.predict_proba(iris[0]))
    assert small(max_epochs=1).fit(*iris).validation_scores_ is None


def test_verbose_says_one_line_an_epoch(iris, capsys):
    small(max_epochs=3, verbose=True).fit(*iris)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused(iris, value):
    broken = iris[0].copy()
    broken[3, 2] = value
    with pytest.raises(ValueError, match=r"NaN|infinity"):
        small().fit(broken, iris[1])
    model = small(max_epochs=1).fit(*iris)
    with pytest.raises(ValueError, match=r"NaN|infinity"):
        model.predict(broken)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"algorithm": "PCC"}, UnknownName, "Did you mean 'PC'"),
        ({"algorithm_options": {"step": 3}}, ConfigError, "Did you mean 'steps'"),
        ({"algorithm_options": {"steps": "many"}}, ConfigError, "algorithm.steps"),
        ({"algorithm_options": {"name": "BP"}}, ValueError, "algorithm_options must be"),
        ({"algorithm_options": [1]}, ValueError, "algorithm_options must be"),
        ({"activation": "geluu"}, UnknownName, "Did you mean 'gelu'"),
        ({"activation": 3}, ValueError, "activation must be a name, got 3"),
        ({"output": "gauss"}, UnknownName, "gaussian"),
        ({"hidden_layer_sizes": (4, 0)}, ValueError, "hidden_layer_sizes must hold positive integers"),
        ({"hidden_layer_sizes": 4}, ValueError, "hidden_layer_sizes must hold positive integers"),
        ({"learning_rate": 0}, ValueError, "learning_rate must be a finite number above 0, got 0"),
        ({"weight_decay": -1.0}, ValueError, "weight_decay must be a finite number 0 or more, got -1.0"),
        ({"batch_size": 0}, ValueError, "batch_size must be a positive integer, got 0"),
        ({"max_epochs": 2.5}, ValueError, "max_epochs must be a positive integer, got 2.5"),
    ],
)
def test_wrong_arguments_are_refused(iris, options, kind, message):
    with pytest.raises(kind, match=message):
        small(**options).fit(*iris)


def test_divergence_is_an_error_with_a_remedy(iris):
    model = small(algorithm_options={"solver": {"rate": 1e80}}, activation="identity", output="gaussian")
    with pytest.raises(Diverged, match=r"epoch 1.*Standardise the features"):
        model.fit(*iris)
