"""`PredictiveCodingClassifier`: the registered algorithms behind the conventions of scikit-learn."""

import operator
from collections.abc import Hashable, Iterator, Mapping
from numbers import Integral, Real
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from . import algorithms
from .algorithms.contract import AbstractAlgorithm, TrainState
from .core.builders import mlp
from .core.network import Network
from .data.batches import evaluation_order
from .data.dataset import Split
from .data.split import validation_split
from .data.transform import Transform
from .registry import exported_classes, find
from .tasks.build import construct
from .tasks.optimiser import Optimiser
from .tasks.progress import Reporter
from .tasks.train import Diverged, Trainer, classifier

#: Samples that are predicted at a time. The last batch is filled up, so that one program serves every number of
#: samples and the prediction for a sample does not depend, to the last bit, on those beside it.
ROWS = 128
#: Compiled training steps to keep: a search over seeds or folds, which share them, then compiles once.
MOST_STEPS = 32
_STEPS: dict[Hashable, Any] = {}

DIVERGED = (
    "training diverged in epoch {epoch}: the energy or the states are no longer finite. Standardise the features "
    "(StandardScaler in a Pipeline), lower learning_rate={rate}, or lower the rate of the states, as in "
    "algorithm_options={{'solver': {{'rate': 0.01}}}}."
)


class PredictiveCodingClassifier(ClassifierMixin, BaseEstimator):
    r"""Multilayer perceptron trained by predictive coding, or by any other registered algorithm.

    Features should be standardised, as by `StandardScaler` in a `Pipeline`; the estimator leaves them as they are.
    Training minimises the energy of the network with features and one-hot labels clamped, with AdamW at a constant
    rate; prediction is one forward pass.

    Arguments:
        hidden_layer_sizes: width of each hidden layer.
        activation: of the hidden layers: gelu, hard_tanh, identity, leaky_relu, relu, sigmoid, silu or tanh.
        output: density of the output: `categorical` (cross entropy; default, for its probabilities are calibrated by
            training) or `gaussian` (squared error, as in most of the literature on predictive coding).
        algorithm: name of a registered algorithm, such as PC, IPC, PN, NN, CN, ZIL or BP (`hookean list algorithms`).
        algorithm_options: its options by name, such as {"steps": 6, "solver": {"rate": 0.1}}; None takes the defaults.
        learning_rate: of the weights (default 1e-3, Adam's usual one).
        weight_decay: decoupled decay of all weights, a rate relative to `learning_rate`.
        batch_size: samples a weight update, at most all of them; an epoch leaves out a ragged last batch, with other
            samples in it each time.
        max_epochs: passes over the training data.
        early_stopping: hold out a part of the training data, stop when its accuracy no longer rises, and keep the
            network of the best epoch.
        validation_fraction: the part held out, with the same share of every class (only with `early_stopping`).
        n_iter_no_change: epochs without a better held-out accuracy before training stops (only with
            `early_stopping`).
        random_state: seed of the weights, of shuffling and of the held-out part; None draws one.
        verbose: print a line an epoch.

    Attributes:
        classes_: the labels, sorted.
        network_: the trained `Network`.
        n_iter_: epochs trained.
        loss_curve_: mean energy in nats per sample in each epoch.
        validation_scores_: held-out accuracy after each epoch, None without `early_stopping`.
        n_features_in_, feature_names_in_: what `fit` was given.
    """

    # Of any type, for a constructor of scikit-learn checks nothing: `fit` does.
    def __init__(
        self,
        hidden_layer_sizes: Any = (64, 64),
        *,
        activation: Any = "gelu",
        output: Any = "categorical",
        algorithm: Any = "PC",
        algorithm_options: Any = None,
        learning_rate: Any = 1e-3,
        weight_decay: Any = 1e-4,
        batch_size: Any = 32,
        max_epochs: Any = 100,
        early_stopping: Any = False,
        validation_fraction: Any = 0.1,
        n_iter_no_change: Any = 10,
        random_state: Any = None,
        verbose: Any = False,
    ):
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.output = output
        self.algorithm = algorithm
        self.algorithm_options = algorithm_options
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any) -> "PredictiveCodingClassifier":
        """Train from new weights on X [n, features] and labels y [n] of any kind; return the estimator.

        Raises:
            ValueError: if an argument or the data cannot be used.
            Diverged: if energies or states leave the finite numbers; says what to change.
        """
        self._check_arguments()
        X, y = validate_data(self, X, y, dtype=np.float32)
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"y must hold at least two classes, got one class: {self.classes_[0]!r}.")
        seed = int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))
        split, held_out = Split(X, labels.astype(np.int32)), None
        if self.early_stopping:
            split, held_out = validation_split(split, size=self.validation_fraction, seed=seed)
        trainer, key = self._trainer(split, seed)
        state = self._train(trainer, held_out)
        _remember(key, trainer.compiled)
        self.network_ = state.network
        return self

    def predict(self, X: Any) -> Shaped[np.ndarray, "n"]:
        """Return the most probable label of each sample of X [n, features]."""
        log_probabilities = self.predict_log_proba(X)
        return self.classes_[np.argmax(log_probabilities, axis=1)]

    def predict_proba(self, X: Any) -> Float[np.ndarray, "n classes"]:
        """Return the probability of each class, in the order of `classes_`, for each sample of X [n, features]."""
        probabilities = np.exp(self.predict_log_proba(X))
        return probabilities / probabilities.sum(axis=1, keepdims=True)

    def predict_log_proba(self, X: Any) -> Float[np.ndarray, "n classes"]:
        r"""Return $\log p(c\,|\,x)$ for each sample of X [n, features], $p(c\,|\,x) \propto \exp(-E_c(x))$.

        $E_c$ is the algorithm's energy of class c. For most it is that of the output of a forward pass with the one-hot
        label: the softmax of the logits for a categorical output, and that of the outputs for a Gaussian one.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float32, reset=False)
        return _log_probabilities(self._algorithm()[0], self.network_, X).astype(np.float64)

    def _check_arguments(self) -> None:
        """Raise ValueError on an argument that what it is passed to would not explain."""
        sizes = self.hidden_layer_sizes
        whole = not isinstance(sizes, str) and np.iterable(sizes) and all(isinstance(n, Integral) for n in sizes)
        if not whole or any(n < 1 for n in sizes):
            raise ValueError(f"hidden_layer_sizes must hold positive integers, as in (64, 64); got {sizes!r}.")
        for name in ("activation", "output", "algorithm"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"{name} must be a name, got {getattr(self, name)!r}.")
        for name in ("batch_size", "max_epochs", "n_iter_no_change"):
            value = getattr(self, name)
            if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name} must be a positive integer, got {value!r}.")
        for name, least, inside in (
            ("learning_rate", "above 0", operator.gt),
            ("weight_decay", "0 or more", operator.ge),
        ):
            value = getattr(self, name)
            if not isinstance(value, Real) or not np.isfinite(float(value)) or not inside(value, 0):
                raise ValueError(f"{name} must be a finite number {least}, got {value!r}.")
        if not isinstance(self.algorithm_options, Mapping | None) or "name" in (self.algorithm_options or {}):
            raise ValueError(
                "algorithm_options must be None or a dict of options of the algorithm, as in {'steps': 6}; "
                f"got {self.algorithm_options!r}."
            )

    def _trainer(self, split: Split, seed: int) -> tuple[Trainer, Hashable]:
        """Return a trainer and the key of its compiled step: everything the step depends on but data and seed."""
        widths = [operator.index(width) for width in self.hidden_layer_sizes]
        self._network_options = {"name": "mlp", "hidden": widths, "activation": self.activation, "output": self.output}
        network = self._network(jax.random.key(seed))
        rule = Optimiser(rate=float(self.learning_rate), weight_decay=float(self.weight_decay), schedule="constant")
        algorithm, options = self._algorithm(optimiser=rule.build(updates=1))
        state = algorithm.init(network, key=jax.random.key(seed))
        size = min(int(self.batch_size), len(split))
        # The configuration of JAX is part of the key, for an array of another type needs another program.
        described = (find(self.algorithm, _members(), "algorithm"), repr((options, rule, self._network_options)))
        key = (*described, split.inputs.shape, len(self.classes_), size, str(jnp.result_type(float)))
        compiled = _STEPS.get(key)
        return classifier(algorithm, state, split, Transform(), len(self.classes_), size, seed, compiled=compiled), key

    def _algorithm(self, **more: Any) -> tuple[AbstractAlgorithm, dict[str, Any]]:
        """Return the algorithm that the arguments name, and its options; its weight rule is the default one."""
        return construct({"name": self.algorithm} | dict(self.algorithm_options or {}), _members(), "algorithm", **more)

    def _network(self, key: Array) -> Network:
        """Return a network of the fitted shape with new weights."""
        shape = {"inputs": (self.n_features_in_,), "outputs": len(self.classes_)}
        return construct(self._network_options, {"mlp": mlp}, "network", **shape, key=key)[0]

    def _train(self, trainer: Trainer, held_out: Split | None) -> TrainState:
        """Drive the trainer over the epochs; return the last state, or the best one where samples are held out."""
        scores: list[float] = []
        self.loss_curve_: list[float] = []
        self.validation_scores_ = None if held_out is None else scores
        # A compiled step takes its buffers away, so those of the template are copied.
        first = state = kept = _copy(trainer.template)
        algorithm = self._algorithm()[0]
        for epoch, (state, means) in enumerate(self._epochs(trainer, first)):
            self.loss_curve_.append(means["energy"])
            line = (
                f"epoch {epoch + 1}/{self.max_epochs}  energy {means['energy']:.4g}  accuracy {means['accuracy']:.4f}"
            )
            if held_out is not None:
                predicted = np.argmax(_log_probabilities(algorithm, state.network, held_out.inputs), axis=1)
                scores.append(float(np.mean(predicted == held_out.labels)))
                line += f"  held-out accuracy {scores[-1]:.4f}"
                if np.argmax(scores) == epoch:
                    kept = _copy(state)
            if self.verbose:
                print(line)
            if held_out is not None and epoch - int(np.argmax(scores)) >= self.n_iter_no_change:
                break
        self.n_iter_ = len(self.loss_curve_)
        return state if held_out is None else kept

    def _epochs(self, trainer: Trainer, state: TrainState) -> Iterator[tuple[TrainState, dict[str, Any]]]:
        """Yield (train state, means) after every epoch."""
        reporter = Reporter(type(self).__name__, quiet=True)
        for epoch in range(self.max_epochs):
            try:
                state, means = trainer.epoch(state, epoch, reporter)
            except Diverged as error:
                raise Diverged(DIVERGED.format(epoch=epoch + 1, rate=self.learning_rate)) from error
            yield state, means

    def __getstate__(self) -> dict[str, Any]:
        # JAX's activation functions cannot be pickled: the arrays and the options of the network go in its place.
        state = dict(super().__getstate__())
        if "network_" in state:
            arrays = eqx.partition(state["network_"], eqx.is_array)[0]
            state["network_"] = [np.asarray(leaf) for leaf in jax.tree.leaves(arrays)]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "network_" in state:
            arrays, rest = eqx.partition(self._network(jax.random.key(0)), eqx.is_array)
            leaves = [jnp.asarray(leaf) for leaf in state["network_"]]
            self.network_ = eqx.combine(jax.tree.unflatten(jax.tree.structure(arrays), leaves), rest)


def _copy(state: TrainState) -> TrainState:
    return jax.tree.map(lambda leaf: jnp.array(leaf) if eqx.is_array(leaf) else leaf, state)


def _remember(key: Hashable, compiled: Any) -> None:
    """Keep a compiled step, and let go of the oldest ones where there are too many."""
    _STEPS[key] = compiled
    while len(_STEPS) > MOST_STEPS:
        del _STEPS[next(iter(_STEPS))]


def _members() -> dict[str, type[AbstractAlgorithm]]:
    return exported_classes(algorithms, AbstractAlgorithm)


@eqx.filter_jit
def _batch_log_probabilities(
    algorithm: AbstractAlgorithm, network: Network, inputs: Float[Array, "rows features"]
) -> Float[Array, "rows classes"]:
    return jax.nn.log_softmax(-algorithm.class_energies(network, inputs))


def _log_probabilities(
    algorithm: AbstractAlgorithm, network: Network, inputs: Float[np.ndarray, "n features"]
) -> Float[np.ndarray, "n classes"]:
    """Return the log-probability of every class for every sample, `ROWS` samples at a time."""
    order: Int[np.ndarray, "batches rows"] = evaluation_order(len(inputs), ROWS)[0]
    parts = [np.asarray(_batch_log_probabilities(algorithm, network, inputs[indices])) for indices in order]
    return np.concatenate(parts)[: len(inputs)]
