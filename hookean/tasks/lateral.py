"""Task `lateral`: what competition between hidden units does to a perceptron that learns by relaxation."""

from collections.abc import Mapping
from typing import Any, ClassVar

import equinox as eqx
import jax
import numpy as np
import pydantic
from jaxtyping import Array, Float

from .. import algorithms, data
from ..algorithms.contract import AbstractAlgorithm, TrainState
from ..core import graph
from ..core.builders import mlp
from ..core.network import Network
from ..core.parameters import count_parameters
from ..data.dataset import AbstractDataset
from ..data.split import subset, validation_split
from ..inference import Gradient
from ..inference.relax import relax
from ..record import Images
from ..registry import exported_classes, find
from .build import construct, network_label, resolve, scheduled_algorithm
from .experiment import AbstractExperiment, Stage
from .fit import fit
from .optimiser import Optimiser

#: A unit counts as active above this share of the largest unit of its sample.
ACTIVE = 0.05


class Lateral(AbstractExperiment, frozen=True):
    """Train a perceptron with a competition in its hidden layers; measure accuracy, sparseness and correlation.

    Attributes:
        dataset: name of the data set.
        network: options of `mlp`; `lateral` names the competition (`KWinners`, `DivisiveNormalisation`,
            `LateralInhibition`, `SparsePrior`, or none).
        algorithm: {"name": ..., options}.
        optimiser: the weight rule and its schedule.
        epochs, batch_size: of training.
        subset: training samples, with equal shares of the classes; None takes all.
        validation: held-out samples, classified after every epoch.
        tested: test samples, the first ones; None takes all.
        shown: filters in the picture, those of the units with the largest weights.
    """

    name: ClassVar[str] = "lateral"
    smoke: ClassVar[Mapping[str, Any]] = {
        "dataset": "digits",
        "network": {"name": "mlp", "hidden": [20, 10], "lateral": "KWinners"},
        "epochs": 1,
        "subset": 300,
        "validation": 100,
        "tested": 60,
        "shown": 4,
    }
    dataset: str = "mnist"
    network: dict[str, Any] = pydantic.Field(default={"name": "mlp", "hidden": [256, 128], "activation": "relu"})
    algorithm: dict[str, Any] = pydantic.Field(default={"name": "PC", "solver": {"rate": 0.1}})
    optimiser: Optimiser = Optimiser(rate=1e-3)
    epochs: int = pydantic.Field(default=3, ge=1)
    batch_size: int = pydantic.Field(default=100, ge=1)
    subset: int | None = pydantic.Field(default=None, ge=1)
    validation: int = pydantic.Field(default=1000, ge=1)
    tested: int | None = pydantic.Field(default=None, ge=1)
    shown: int = pydantic.Field(default=16, ge=1)

    def names(self) -> dict[str, str]:
        rule = find(str(self.algorithm["name"]), exported_classes(algorithms, AbstractAlgorithm), "algorithm")
        dataset = find(self.dataset, exported_classes(data, AbstractDataset), "data set").name
        competition = self.network.get("lateral", "none")
        kind = competition if isinstance(competition, str) else str(competition["name"])
        label = self.label or ("no competition" if kind == "none" else kind)
        return {
            "label": label,
            "algorithm": rule.__name__,
            "network": network_label(self.network),
            "dataset": dataset,
        }

    def check(self) -> None:
        find(self.dataset, exported_classes(data, AbstractDataset), "data set")
        resolve(self.network, {"mlp": mlp}, "network")
        resolve(self.algorithm, exported_classes(algorithms, AbstractAlgorithm), "algorithm")

    def measure(self, stage: Stage) -> None:
        with stage.timed("data"):
            loaded = find(self.dataset, exported_classes(data, AbstractDataset), "data set")().load(
                download=self.download
            )
            split = loaded.train if self.subset is None else subset(loaded.train, self.subset, 0)
            train, valid = validation_split(split, size=self.validation, seed=0)
        key = jax.random.fold_in(jax.random.key(self.seed), 0)
        shapes = {"inputs": loaded.shape, "outputs": loaded.number_of_classes}
        network, _ = construct(self.network, {"mlp": mlp}, "network", **shapes, key=key)
        algorithm = scheduled_algorithm(self.algorithm, self.optimiser, self.epochs * (len(train) // self.batch_size))
        stage.record.parameters, stage.record.passes = count_parameters(network), algorithm.passes(network)
        look = loaded.transform.evaluate
        outputs = eqx.filter_jit(algorithm.predict)

        def right(network: Network, inputs: Any, labels: Any) -> float:
            return float(np.mean(np.argmax(outputs(network, {"x": look(inputs)}), axis=-1) == labels))

        def after(state: TrainState, epoch: int) -> dict[str, Any]:
            del epoch
            return {"valid": {"accuracy": right(state.network, valid.inputs, valid.labels)}}

        def clamps(rows: Any, key: Any) -> dict[str, Array]:
            del key
            return {"x": look(rows["x"]), "y": jax.nn.one_hot(rows["y"], loaded.number_of_classes)}

        rows = {"x": train.inputs, "y": train.labels}
        settings = {"epochs": self.epochs, "batch_size": self.batch_size, "seed": self.seed}
        state = fit(stage, algorithm, network, rows, clamps, after=after, **settings)  # type: ignore[arg-type]
        with stage.timed("evaluate"):
            inputs, labels = loaded.test.inputs[: self.tested], loaded.test.labels[: self.tested]
            responses = np.asarray(eqx.filter_jit(first_hidden)(state.network, look(inputs)))
        found = {"accuracy": right(state.network, inputs, labels)} | statistics_of(responses)
        stage.record.test, stage.record.shown = found, list(found)
        weights = np.asarray(state.network.terms["h1"].function.linear.weight)  # type: ignore[attr-defined]
        keep_filters(stage, weights, loaded.shape, self.shown, "Filters of the first hidden layer")


def first_hidden(network: Network, inputs: Float[Array, "samples *input"]) -> Float[Array, "samples units"]:
    """Return the first hidden layer's states with the output free: a forward pass, relaxed where couplings pull."""
    if len(graph.predictions(network.terms)) == len(network.terms):
        return eqx.filter_vmap(lambda sample: network.forward({"x": sample})["h1"])(inputs)
    return relax(network, {"x": inputs}, solver=Gradient(0.1), steps=100, unroll=False).states["h1"]


def statistics_of(responses: Float[np.ndarray, "samples units"]) -> dict[str, float]:
    r"""Return how sparse and how correlated units are.

    Active: share of units above a twentieth of the largest one of the sample. Sparseness is that of Treves and Rolls,
    $1 - \overline{|r|}^2/\overline{r^2}$ over units, 0 where all are equal. Correlation: mean of $|c_{ij}|$ over pairs
    of units that are active at all.
    """
    size = np.abs(responses)
    largest = np.maximum(size.max(axis=1, keepdims=True), 1e-12)
    square = np.maximum((size**2).mean(axis=1), 1e-12)
    alive = responses[:, responses.std(axis=0) > 1e-6]
    pairs = np.corrcoef(alive.T)[~np.eye(alive.shape[1], dtype=bool)] if alive.shape[1] > 1 else np.zeros(1)
    return {
        "active units": float((size > ACTIVE * largest).mean()),
        "sparseness": float((1 - size.mean(axis=1) ** 2 / square).mean()),
        "correlation": float(np.abs(pairs).mean()),
    }


def keep_filters(
    stage: Stage, weights: Float[np.ndarray, "units inputs"], shape: tuple[int, ...], number: int, title: str
) -> None:
    """Keep a picture of the filters with the largest weights, where the samples are images."""
    if len(shape) != 3:
        return
    chosen = np.argsort(-np.linalg.norm(weights, axis=1))[:number]
    images = weights[chosen].reshape(len(chosen), *shape).mean(axis=-1)
    columns = min(8, len(chosen))
    whole = images[: len(images) // columns * columns].reshape(-1, columns, *shape[:2])
    scaled = whole / np.maximum(np.abs(whole).max(axis=(2, 3), keepdims=True), 1e-12)
    stage.keep_arrays({"filters": scaled.astype(np.float16)})
    rows = [""] * len(whole)
    stage.record.images = [Images(title, "filters", rows, "Each filter has its own scale.", signed=True)]
