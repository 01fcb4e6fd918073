"""Task `changing`: a classifier in a world that changes, tested on distorted copies or trained part after part."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pydantic
from scipy import ndimage

from ..core.parameters import count_parameters
from ..data.dataset import Split
from ..record import Chart
from . import metrics
from .build import ConfigError, network_label
from .classification import Classification, Parts, build, evaluator, resolve_config
from .experiment import AbstractExperiment, Stage
from .optimiser import Optimiser
from .progress import Reporter
from .train import classifier


def _noise(images: np.ndarray) -> np.ndarray:
    """Add Gaussian noise with a standard deviation of a fifth of the range."""
    noisy = images + np.random.default_rng(0).normal(0, 51, images.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def _rotation(images: np.ndarray) -> np.ndarray:
    """Turn every image by an angle of its own, up to 30 degrees to either side."""
    angles = np.random.default_rng(0).uniform(-30, 30, len(images))
    turned = [ndimage.rotate(i, a, reshape=False, order=1) for i, a in zip(images, angles, strict=True)]
    return np.stack(turned).astype(np.uint8)


def _blur(images: np.ndarray) -> np.ndarray:
    """Blur with a Gaussian of 1.5 pixels."""
    return ndimage.gaussian_filter(images.astype(np.float32), (0, 1.5, 1.5, 0)).astype(np.uint8)


#: Distorted copies of the test images; each is the same for every run.
DISTORTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"noise": _noise, "rotation": _rotation, "blur": _blur}


@dataclasses.dataclass(frozen=True)
class World:
    """One of the worlds: what is learned there (None: nothing) and what is measured there (held out: None, nothing)."""

    name: str
    train: Split | None
    valid: Split | None
    test: Split


class Changing(AbstractExperiment, frozen=True):
    """Classify in a world that changes, without being told: shifted test data, or parts that follow each other.

    Attributes:
        dataset: name of the data set; of images.
        network: {"name": ..., options of the builder}.
        algorithm: {"name": ..., options of the algorithm}.
        optimiser: the weight rule; its schedule and its memory run through all parts (default: a constant rate).
        change: "test", train once and test on copies with noise, rotation and blur; "classes", train on groups of
            classes one after the other; "pixels", train on copies whose pixels are permuted, one after the other.
        parts: number of parts that follow each other (default 5).
        epochs: passes over the samples of a part.
        batch_size: samples a batch.
        validation: held-out part of the training split, for the choice of rates.
        subset: take so many samples of the training split, the held-out ones among them; None takes all.
    """

    name: ClassVar[str] = "changing"
    smoke: ClassVar[Mapping[str, Any]] = {
        "dataset": "digits", "network": {"name": "mlp", "hidden": [16]}, "change": "classes", "epochs": 1,
    }  # fmt: skip
    dataset: str = "fashion_mnist"
    network: dict[str, Any] = pydantic.Field(default={"name": "mlp"})
    algorithm: dict[str, Any] = pydantic.Field(default={"name": "PC"})
    optimiser: Optimiser = Optimiser(schedule="constant")
    change: Literal["test", "classes", "pixels"] = "test"
    parts: int = pydantic.Field(default=5, ge=2)
    epochs: int = pydantic.Field(default=5, ge=1)
    batch_size: int = pydantic.Field(default=50, ge=1)
    validation: int | float = pydantic.Field(default=0.1, gt=0)
    subset: int | None = pydantic.Field(default=None, ge=1)

    def classification(self) -> Classification:
        """Return the classification that this one changes."""
        same = ("dataset", "network", "algorithm", "optimiser", "label", "batch_size", "validation", "subset", "seed")
        values = {name: getattr(self, name) for name in same}
        copies = self.parts if self.change == "pixels" else 1  # the schedule ends with the last part
        return Classification(**values, epochs=self.epochs * copies, download=self.download)

    def network_options(self) -> dict[str, Any]:
        """Return the builder's name and options."""
        return self.network

    def check(self) -> None:
        resolve_config(self.classification())

    def resolved(self) -> dict[str, Any]:
        whole = resolve_config(self.classification())
        return (
            self.model_dump()
            | {k: whole[k] for k in ("dataset", "label", "network", "algorithm")}
            | {"task": "changing"}
        )

    def names(self) -> dict[str, str]:
        whole = self.resolved()
        algorithm = whole["algorithm"]["name"]
        dataset = f"{whole['dataset']}, changing {self.change}"
        return {
            "label": whole["label"],
            "algorithm": algorithm,
            "network": network_label(self.network),
            "dataset": dataset,
        }

    def measure(self, stage: Stage) -> None:
        with stage.timed("data"):
            parts = build(self.classification())
            worlds = self.worlds(parts)
        right, held = self._train(stage, parts, worlds)
        stage.record.parameters = count_parameters(parts.state.network)
        stage.record.passes = parts.algorithm.passes(parts.state.network)
        last = right[-1]
        if self.change == "test":
            names = [f"{world.name} %" for world in worlds[1:]]
            stage.record.test = {"accuracy": last[0], "held out %": 100 * held[0]}
            stage.record.test |= {name: 100 * value for name, value in zip(names, last[1:], strict=True)}
        else:
            forgotten = [right[i][i] - last[i] for i in range(len(worlds) - 1)]
            stage.record.test = {
                "accuracy": float(np.mean(last)),
                "held out %": 100 * float(np.mean(held)),
                "just learned %": 100 * float(np.mean([right[i][i] for i in range(len(worlds))])),
                "forgotten, points": 100 * float(np.mean(forgotten)),
            }
            x = list(map(float, range(1, len(worlds) + 1)))
            lines = {w.name: {"x": x, "y": [100 * row[i] for row in right]} for i, w in enumerate(worlds)}
            stage.record.charts = [Chart("One part after the other", "parts learned", "accuracy on a part, %", lines)]
        stage.record.shown = list(stage.record.test)

    def _train(self, stage: Stage, parts: Parts, worlds: list[World]) -> tuple[list[list[float]], list[float]]:
        """Return (accuracy in every world after each part, held-out accuracy in every world at the end)."""
        state = jax.tree.map(lambda leaf: jnp.array(leaf) if eqx.is_array(leaf) else leaf, parts.state)
        evaluate = evaluator(parts, 500)

        def accuracies(splits: list[Split]) -> list[float]:
            arrays = eqx.partition(state.network, eqx.is_array)[0]
            with stage.timed("evaluate"):
                return [metrics.summarise(evaluate(arrays, split))["accuracy"] for split in splits]

        right, compiled, tests = [], None, [world.test for world in worlds]
        taught = [world.train for world in worlds if world.train is not None]
        classes = parts.data.number_of_classes
        reporter = Reporter(stage.title, quiet=stage.quiet)
        with reporter.run(len(taught) * self.epochs, 0, len(taught[0]) // self.batch_size):
            for number, split in enumerate(taught):
                trainer = classifier(
                    parts.algorithm, state, split, parts.data.transform, classes, self.batch_size, self.seed, compiled
                )
                for epoch in range(self.epochs):
                    behind = number * self.epochs + epoch
                    with stage.timed("train"):
                        state, means = trainer.epoch(state, behind, reporter)
                    stage.record.history.append({"epoch": behind + 1, "part": number + 1, "train": means})
                    reporter.epoch(behind + 1, energy=means["energy"])
                compiled = trainer.compiled
                right.append(accuracies(tests))
        return right, accuracies([world.valid for world in worlds if world.valid is not None])

    def worlds(self, parts: Parts) -> list[World]:
        """Return the worlds; those that teach come in the order in which they are lived through."""
        train, valid, test = parts.train, parts.valid, parts.data.test
        if test.inputs.ndim != 4:
            raise ConfigError(f"dataset must hold images, got {parts.data.label}.")
        if self.change == "test":
            copies = [World(n, None, None, Split(f(test.inputs), test.labels)) for n, f in DISTORTIONS.items()]
            return [World("as trained", train, valid, test), *copies]
        if self.change == "pixels":
            orders = [np.random.default_rng(i).permutation(test.inputs[0].size) for i in range(self.parts)]
            orders[0] = np.arange(test.inputs[0].size)
            return [
                World(f"order {i + 1}", *(_permuted(split, order) for split in (train, valid, test)))
                for i, order in enumerate(orders)
            ]
        groups = np.array_split(np.arange(parts.data.number_of_classes), self.parts)
        if any(len(group) == 0 for group in groups):
            raise ConfigError(
                f"parts must be at most the number of classes, {len(parts.data.classes)}, got {self.parts}."
            )
        taught = [_of(train, group) for group in groups]
        least = min(map(len, taught))  # one compiled step serves all parts
        names = [f"classes {group[0] + 1} to {group[-1] + 1}" for group in groups]
        return [
            World(name, Split(split.inputs[:least], split.labels[:least]), _of(valid, group), _of(test, group))
            for name, split, group in zip(names, taught, groups, strict=True)
        ]


def _of(split: Split, classes: np.ndarray) -> Split:
    kept = np.isin(split.labels, classes)
    return Split(split.inputs[kept], split.labels[kept])


def _permuted(split: Split, order: np.ndarray) -> Split:
    flat = split.inputs.reshape(len(split), -1)[:, order]
    return Split(flat.reshape(split.inputs.shape), split.labels)
