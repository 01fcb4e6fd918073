"""Task `graph`: one graph of units, trained once, asked to classify, reconstruct, complete and generate."""

import functools
from collections.abc import Mapping
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pydantic
from jaxtyping import Array, Float

from .. import algorithms, data
from ..algorithms import IPC, PC
from ..algorithms.contract import AbstractAlgorithm, TrainState
from ..core import builders
from ..core.clamp import Masked
from ..core.edges import Gathered, count_edges
from ..core.initialise import Sweeps
from ..core.network import Network
from ..core.parameters import count_parameters
from ..core.term import Prediction
from ..data.dataset import AbstractDataset, Data
from ..data.split import subset, validation_split
from ..inference.relax import relax
from ..record import Chart, Images
from ..registry import exported_classes, exported_functions, find
from .build import ConfigError, construct, network_label, resolve, scheduled_algorithm
from .experiment import AbstractExperiment, Stage
from .fit import fit
from .optimiser import Optimiser

#: Samples that are settled at once, so that the states of a large graph fit into memory.
CHUNK = 250


class Graph(AbstractExperiment, frozen=True):
    """Train a graph of units on images and labels, then clamp other nodes of the same weights.

    Attributes:
        dataset: name of a data set of images.
        network: {"name": ..., options of the builder}; `graph` or another one with nodes for image and label.
        algorithm: {"name": ..., options}. With `PC` and `IPC` all four questions are asked; rules that learn the label
            alone, such as `BP` and `BPTT`, are asked to classify.
        optimiser: the weight rule and its schedule.
        epochs, batch_size: of training.
        subset: training samples, with equal shares of the classes; None takes all.
        validation: held-out samples of the training split, classified after every epoch.
        tested: test samples to classify, the first ones; None takes all.
        asked: test samples to reconstruct and to complete, the first ones (default 500).
        sweeps: sweeps of the free nodes that answer a question (default 10), see `Questions`.
        steps: relaxation steps after them, with the algorithm's solver (default 0).
        shown: test images in the picture.
    """

    name: ClassVar[str] = "graph"
    smoke: ClassVar[Mapping[str, Any]] = {
        "dataset": "digits",
        "network": {"name": "graph", "hidden": [20]},
        "epochs": 1,
        "subset": 300,
        "validation": 100,
        "tested": 60,
        "asked": 60,
        "sweeps": 4,
        "steps": 1,
        "shown": 4,
    }
    dataset: str = "mnist"
    network: dict[str, Any] = pydantic.Field(default={"name": "graph", "labels": False})
    algorithm: dict[str, Any] = pydantic.Field(
        default={
            "name": "PC",
            "steps": 2,
            "solver": {"rate": 0.05},
            "initial": {"name": "Sweeps", "number": 3, "unseen": ["y"]},
        }
    )
    optimiser: Optimiser = Optimiser(rate=1e-3)
    epochs: int = pydantic.Field(default=2, ge=1)
    batch_size: int = pydantic.Field(default=100, ge=1)
    subset: int | None = pydantic.Field(default=None, ge=1)
    validation: int = pydantic.Field(default=1000, ge=1)
    tested: int | None = pydantic.Field(default=None, ge=1)
    asked: int = pydantic.Field(default=500, ge=1)
    sweeps: int = pydantic.Field(default=10, ge=0)
    steps: int = pydantic.Field(default=0, ge=0)
    shown: int = pydantic.Field(default=10, ge=1)

    def names(self) -> dict[str, str]:
        rule = find(str(self.algorithm["name"]), exported_classes(algorithms, AbstractAlgorithm), "algorithm")
        topology = self.network.get("topology", "Full")
        kind = topology if isinstance(topology, str) else topology["name"]
        network = f"graph, {kind}" if self.network["name"] == "graph" else network_label(self.network)
        dataset = find(self.dataset, exported_classes(data, AbstractDataset), "data set").name
        return {"label": self.label or rule.label, "algorithm": rule.__name__, "network": network, "dataset": dataset}

    def check(self) -> None:
        find(self.dataset, exported_classes(data, AbstractDataset), "data set")
        resolve(self.network, exported_functions(builders), "network")
        resolve(self.algorithm, exported_classes(algorithms, AbstractAlgorithm), "algorithm")

    def measure(self, stage: Stage) -> None:
        with stage.timed("data"):
            loaded = find(self.dataset, exported_classes(data, AbstractDataset), "data set")().load(
                download=self.download
            )
            if len(loaded.shape) != 3:
                raise ConfigError(f"dataset must be one of images, got {loaded.name} with samples of {loaded.shape}.")
            split = loaded.train if self.subset is None else subset(loaded.train, self.subset, 0)
            train, valid = validation_split(split, size=self.validation, seed=0)
        network, algorithm = self._parts(loaded, len(train))
        stage.record.parameters, stage.record.passes = count_parameters(network), algorithm.passes(network)
        classify = _classifier(algorithm, network, self.sweeps, self.steps)
        look = loaded.transform.evaluate

        def after(state: TrainState, epoch: int) -> dict[str, Any]:
            del epoch
            right = classify(state.network, look(valid.inputs)) == valid.labels
            return {"valid": {"accuracy": float(np.mean(right))}}

        def clamps(rows: Any, key: Any) -> dict[str, Array]:
            del key
            return {"x": look(rows["x"]), "y": jax.nn.one_hot(rows["y"], loaded.number_of_classes)}

        rows = {"x": train.inputs, "y": train.labels}
        settings = {"epochs": self.epochs, "batch_size": self.batch_size, "seed": self.seed}
        state = fit(stage, algorithm, network, rows, clamps, after=after, **settings)  # type: ignore[arg-type]
        with stage.timed("evaluate"):
            images, labels = look(loaded.test.inputs[: self.tested]), loaded.test.labels[: self.tested]
            found = {"accuracy": float(np.mean(classify(state.network, images) == labels))}
            shown = ["accuracy"]
            if isinstance(algorithm, PC | IPC):
                answers = Questions(algorithm, state.network, self.sweeps, self.steps)
                found |= _ask(stage, answers, loaded, np.asarray(look(train.inputs)), train.labels, self)
                shown += [name for name in found if name not in shown]
        found |= {"edges": float(_edges(network))}
        stage.record.test, stage.record.shown = found, shown
        history = [entry["valid"]["accuracy"] for entry in stage.record.history]
        line = {"x": [float(i + 1) for i in range(len(history))], "y": history}
        stage.record.charts = [Chart("Held-out accuracy", "epoch", "accuracy", {"": line})]

    def _parts(self, loaded: Data, samples: int) -> tuple[Network, AbstractAlgorithm]:
        shapes = {"inputs": loaded.shape, "outputs": loaded.number_of_classes}
        key = jax.random.fold_in(jax.random.key(self.seed), 0)
        network, _ = construct(self.network, exported_functions(builders), "network", **shapes, key=key)
        if {"x", "y"} - set(network.shapes):
            raise ConfigError("network must have a node x for the image and a node y for the label; use graph or mlp.")
        algorithm = scheduled_algorithm(self.algorithm, self.optimiser, self.epochs * (samples // self.batch_size))
        try:
            algorithm.check(network)
        except ValueError as error:
            raise ConfigError(str(error)) from error
        return network, algorithm


class Questions(eqx.Module):
    r"""The four questions to a network that relaxes: each clamps other nodes.

    Free nodes are swept, $x \leftarrow \hat x(x)$, towards states in which their own errors are zero, and then relaxed.
    The two differ where there are cycles: the energy holds the errors of the clamped units as well, and these pull on
    the free ones that they read. The page on graphs has measured what each of the two answers.
    """

    algorithm: PC | IPC
    network: Network
    sweeps: int = eqx.field(static=True)
    steps: int = eqx.field(static=True)

    def label(self, images: Float[Array, "n h w c"]) -> Float[Array, "n classes"]:
        """Return the label node with the image clamped."""
        return self._settled({"x": images})["y"]

    def reconstruction(self, images: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
        """Return the image that the other nodes hold: settle them under the image, hold them, let the image go."""
        held = self._settled({"x": images})
        return self._settled({name: state for name, state in held.items() if name != "x"})["x"]

    def completion(self, images: Float[Array, "n h w c"], known: Float[Array, "h w c"]) -> Float[Array, "n h w c"]:
        """Return the image with its known part clamped; the rest starts at zero, and so does the label."""
        mask = jnp.broadcast_to(known > 0, images.shape)
        return self._settled({"x": Masked(jnp.where(mask, images, 0), mask)})["x"]

    def generation(self, labels: Float[Array, "n classes"]) -> Float[Array, "n h w c"]:
        """Return the image with the label clamped."""
        return self._settled({"y": labels})["x"]

    def _settled(self, clamps: dict[str, Any]) -> dict[str, Array]:
        solver, initial = self.algorithm.solver, Sweeps(self.sweeps)
        return relax(self.network, clamps, solver=solver, steps=self.steps, initial=initial, unroll=False).states


def _classifier(algorithm: AbstractAlgorithm, template: Network, sweeps: int, steps: int) -> Any:
    """Return (network, images) -> the class that each image is put in."""
    static = eqx.partition(template, eqx.is_array)[1]

    @jax.jit
    def outputs(arrays: Any, images: Array) -> Array:
        network = eqx.combine(arrays, static)
        if isinstance(algorithm, PC | IPC):
            return jnp.argmax(Questions(algorithm, network, sweeps, steps).label(images), axis=-1)
        return jnp.argmax(algorithm.predict(network, {"x": images}), axis=-1)

    def classify(network: Network, images: Array) -> np.ndarray:
        return _in_chunks(lambda part: outputs(eqx.filter(network, eqx.is_array), part), images)

    return classify


def _in_chunks(function: Any, *rows: Array) -> np.ndarray:
    """Return what a function of rows gives, some rows at a time; the last chunk is filled up with the first row."""
    parts = []
    for first in range(0, len(rows[0]), CHUNK):
        chunk = [row[first : first + CHUNK] for row in rows]
        missing = min(CHUNK, len(rows[0])) - len(chunk[0])
        full = [jnp.concatenate([c, jnp.repeat(row[:1], missing, axis=0)]) for c, row in zip(chunk, rows, strict=True)]
        parts.append(np.asarray(function(*full))[: len(chunk[0])])
    return np.concatenate(parts)


def _ask(
    stage: Stage, questions: Questions, loaded: Data, seen: np.ndarray, classes: np.ndarray, config: Graph
) -> dict[str, float]:
    """Complete, reconstruct and generate; return what is measured of it and keep a picture.

    A judge that never saw the graph, the five nearest training images, says which digit a picture shows.
    """
    from sklearn.neighbors import KNeighborsClassifier  # a second to import

    flat = (-1, int(np.prod(loaded.shape)))
    judge = KNeighborsClassifier(5).fit(seen.reshape(flat), classes)
    images = loaded.transform.evaluate(loaded.test.inputs[: config.asked])
    labels = loaded.test.labels[: config.asked]
    rows = jnp.arange(loaded.shape[0])[:, None, None]
    known = jnp.broadcast_to(rows < loaded.shape[0] // 2, loaded.shape).astype(images.dtype)
    complete, rebuild = eqx.filter_jit(questions.completion), eqx.filter_jit(questions.reconstruction)
    completed = _in_chunks(functools.partial(complete, known=known), images)
    rebuilt = _in_chunks(rebuild, images)
    ten = jnp.eye(loaded.number_of_classes)
    made = np.asarray(eqx.filter_jit(questions.generation)(ten))
    filled = np.where(known > 0, images, seen.mean(axis=0))
    unit = float(loaded.transform.std[0])  # back to grey levels from 0 to 1

    def error(found: np.ndarray) -> float:
        return float(np.mean((found - np.asarray(images))[:, np.asarray(known) == 0] ** 2) * unit**2)

    def recognised(pictures: np.ndarray, wanted: np.ndarray) -> float:
        return float(np.mean(judge.predict(pictures.reshape(flat)) == wanted))

    _draw(stage, loaded, config.shown, (images, np.where(known > 0, images, -1), completed, rebuilt), made)
    return {
        "completion mse": error(completed),
        "completion mse, mean image": error(filled),
        "completions recognised": recognised(completed, labels),
        "halves recognised": recognised(filled, labels),
        "images recognised": recognised(np.asarray(images), labels),
        "reconstruction mse": float(np.mean((rebuilt - np.asarray(images)) ** 2) * unit**2),
        "generated recognised": recognised(made, np.arange(len(ten))),
    }


def _draw(stage: Stage, loaded: Data, number: int, rows: tuple[Any, ...], made: np.ndarray) -> None:
    labels = loaded.test.labels[: len(rows[0])]
    classes = np.unique(labels)[:number]  # a few test images need not hold all
    chosen = [int(np.flatnonzero(labels == c)[0]) for c in classes]
    mean, std = np.asarray(loaded.transform.mean), np.asarray(loaded.transform.std)
    pictures = np.stack([*(np.asarray(row)[np.asarray(chosen)] for row in rows), made[classes]])
    grey = np.clip((pictures * std + mean).mean(axis=-1), 0, 1)
    stage.keep_arrays({"answers": np.round(255 * grey).astype(np.uint8)})
    names = ["test image", "clamped half", "completed", "reconstructed", "generated from the label"]
    reading = "One set of weights. The lower half, the hidden units and the label are free in the third row."
    stage.record.images = [Images("What is asked of one graph", "answers", names, reading)]


def _edges(network: Network) -> int:
    """Return the number of couplings: those of graphs, and the weights of every other prediction."""
    total = 0
    for term in network.term_list:
        if isinstance(term, Prediction) and isinstance(term.function, Gathered):
            total += count_edges(term.function.blocks)
        else:
            leaves = [leaf for leaf in jax.tree.leaves(eqx.filter(term, eqx.is_inexact_array)) if leaf.ndim > 1]
            total += sum(leaf.size for leaf in leaves)
    return total
