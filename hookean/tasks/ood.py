"""Task `ood`: which samples a trained classifier holds for foreign, by its energy and by other scores."""

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pydantic

from .. import algorithms, data
from ..algorithms.contract import AbstractAlgorithm
from ..core import builders
from ..core.network import Network
from ..core.parameters import count_parameters
from ..data import corruption
from ..data.batches import evaluation_order
from ..data.dataset import AbstractDataset, Data, Split
from ..data.split import subset, validation_split
from ..inference.gradient import Gradient
from ..record import Chart, Images
from ..registry import exported_classes, exported_functions, find, nearest
from . import detection, scores
from .build import ConfigError, construct, network_label, resolve, scheduled_algorithm
from .experiment import AbstractExperiment, Stage
from .fit import fit
from .optimiser import Optimiser
from .train import Rows, labelled

#: Samples that are scored at once; one compiled function serves all sets.
BATCH = 250
#: Steps that ODIN chooses from, on the scale of images 0..1 divided by the standard deviation of the transform.
ODIN_STEPS = (0.0, 0.005, 0.01, 0.02, 0.04, 0.08)
#: Images of every set that are kept for pictures.
SHOWN = 8
#: Foreign sets that are the known one, spoiled.
SPOILINGS = ("noise", "rotation", "blur")
#: Bins of the distribution of energies.
BINS = 24


class OutOfDistribution(AbstractExperiment, frozen=True):
    """Train a classifier on one data set and tell its test samples from foreign ones by scores.

    Attributes:
        dataset: the known data set.
        foreign: names of other data sets (made grey and sized like the known one), and `noise`, `rotation`, `blur`,
            which are the known test samples spoiled.
        network, algorithm, optimiser: as in `classification`. The network of the last epoch is scored.
        epochs, batch_size, subset, validation: as in `classification`; ODIN chooses its step on the held-out part.
        samples: test samples of every set, the first ones; None takes as many as the smallest set has.
        steps: T of inference when scoring (default 100, as published).
        rate: state rate when scoring (default 0.01, as published).
        noise: standard deviation on the scale 0..1.
        degrees: of the rotation.
        blur: standard deviation in pixels.
        resamples: of the bootstrap intervals.

    Every set passes the transform of the known one. Foreign samples are the positives of AUROC and AUPR.

    Source: Pinchetti et al. (2025), out-of-distribution detection.
    """

    name: ClassVar[str] = "ood"
    smoke: ClassVar[Mapping[str, Any]] = {
        "dataset": "digits",
        "foreign": ["noise"],
        "network": {"name": "mlp", "hidden": [16], "output": "Categorical"},
        "epochs": 1,
        "subset": None,
        "samples": 100,
        "steps": 3,
        "resamples": 20,
    }
    dataset: str = "mnist"
    foreign: tuple[str, ...] = pydantic.Field(
        default=("fashion_mnist", "cifar10", "noise", "rotation", "blur"), min_length=1
    )
    network: dict[str, Any] = pydantic.Field(default={"name": "mlp", "hidden": [512, 512], "output": "Categorical"})
    algorithm: dict[str, Any] = pydantic.Field(
        default={"name": "PC", "steps": 10, "solver": {"name": "Gradient", "rate": 0.01}}
    )
    optimiser: Optimiser = Optimiser(name="sgd", rate=0.01, momentum=0.95, schedule="constant")
    epochs: int = pydantic.Field(default=75, ge=0)
    batch_size: int = pydantic.Field(default=128, ge=1)
    validation: int | float = pydantic.Field(default=0.2, gt=0)
    subset: int | None = pydantic.Field(default=30_000, ge=1)
    samples: int | None = pydantic.Field(default=None, ge=2)
    steps: int = pydantic.Field(default=100, ge=1)
    rate: float = pydantic.Field(default=0.01, gt=0)
    noise: float = pydantic.Field(default=0.3, ge=0)
    degrees: float = 45.0
    blur: float = pydantic.Field(default=1.5, ge=0)
    resamples: int = pydantic.Field(default=200, ge=2)

    def names(self) -> dict[str, str]:
        rule, _, _ = resolve(self.algorithm, _rules(), "algorithm")
        return {
            "label": self.label or rule.label,  # type: ignore[attr-defined]
            "algorithm": rule.__name__,
            "network": network_label(self.network),
            "dataset": find(self.dataset, _sets(), "data set").__name__,
        }

    def resolved(self) -> dict[str, Any]:
        network = resolve(self.network, exported_functions(builders), "network")[2]
        algorithm = resolve(self.algorithm, _rules(), "algorithm")[2]
        return super().resolved() | {"network": network, "algorithm": algorithm}

    def check(self) -> None:
        self.resolved()
        for name in self.foreign:
            self._foreign(name)
        known = find(self.dataset, _sets(), "data set")
        kinds = [name if name in SPOILINGS else find(name, _sets(), "data set") for name in self.foreign]
        if known in kinds:
            raise ConfigError(f"foreign: {known.__name__} is the known set. Leave it out.")
        if len(set(kinds)) < len(kinds):
            raise ConfigError(f"foreign: the sets must differ from each other, got {list(self.foreign)}.")

    def measure(self, stage: Stage) -> None:
        with stage.timed("data"):
            known = find(self.dataset, _sets(), "data set")().load(download=self.download)
            train, valid = self._parts(known)
            sets = self._splits(known)
        stage.record.dataset = known.label
        network, algorithm = self._build(known, len(train))

        def clamps(rows: Rows, key: Any) -> Any:
            return labelled(
                network, known.transform.train(rows["inputs"], key=key), rows["labels"], known.number_of_classes
            )

        stage.record.parameters, stage.record.passes = count_parameters(network), algorithm.passes(network)
        rows = {"inputs": train.inputs, "labels": train.labels}
        training: dict[str, Any] = {"epochs": self.epochs, "batch_size": self.batch_size, "seed": self.seed}
        trained = fit(stage, algorithm, network, rows, clamps, **training).network
        with stage.timed("evaluate"):
            by_set = self._score(stage, trained, known, train, valid, sets)
        accuracy = float(np.mean(by_set[known.label].pop("label") == sets[known.label].labels))
        if not np.isfinite(by_set[known.label]["energy after"]).all():
            stage.diverged("inference diverged while scoring: the energies are no longer finite. Lower rate.")
        stage.record.test = {"accuracy": accuracy}
        with stage.timed("evidence"):
            self._compare(stage, known.label, by_set)
        _show(stage, known.label, sets, by_set)

    def _foreign(self, name: str) -> Callable[[Data], tuple[str, Split]]:
        """Return the function from the known data to the (label, test split) of a foreign set."""
        spoiled: dict[str, Callable[[Split], Split]] = {
            "noise": lambda split: corruption.with_noise(split, self.noise, seed=self.seed),
            "rotation": lambda split: corruption.rotated(split, self.degrees),
            "blur": lambda split: corruption.blurred(split, self.blur),
        }
        if name in spoiled:
            return lambda known: (f"{known.label}, {name}", spoiled[name](known.test))
        try:
            kind = find(name, _sets(), "data set")
        except ValueError as error:
            raise ConfigError(
                f"foreign: '{name}' is neither a data set nor a spoiling. {nearest(name, [*_sets(), *spoiled])}"
            ) from error

        def other(known: Data) -> tuple[str, Split]:
            loaded, (height, width, _) = kind().load(download=self.download), known.test.inputs.shape[1:]
            if loaded.test.inputs.ndim != 4:
                raise ConfigError(f"foreign: the sets must hold images, got {loaded.label}.")
            coloured = loaded.test.inputs.shape[3] == 3
            return loaded.label + (", grey" if coloured else ""), corruption.grey(loaded.test, height, width)

        return other

    def _splits(self, known: Data) -> dict[str, Split]:
        """Return label -> test split of equal size, the known one first."""
        if known.test.inputs.ndim != 4 or known.test.inputs.shape[3] != 1:
            raise ConfigError(f"dataset: the known set must hold grey images, got {known.label}.")
        sets = dict([(known.label, known.test), *(self._foreign(name)(known) for name in self.foreign)])
        size = min(self.samples or len(known.test), *map(len, sets.values()))
        return {label: Split(split.inputs[:size], split.labels[:size]) for label, split in sets.items()}

    def _parts(self, known: Data) -> tuple[Split, Split]:
        """Return (training, held-out) samples; the same for every seed."""
        try:
            full = known.train if self.subset is None else subset(known.train, self.subset, 0)
            return validation_split(full, size=self.validation, seed=0)
        except ValueError as error:
            raise ConfigError(f"subset or validation: {error}") from error

    def _build(self, known: Data, samples: int) -> tuple[Network, AbstractAlgorithm]:
        network, _ = construct(
            self.network,
            exported_functions(builders),
            "network",
            inputs=known.shape,
            outputs=known.number_of_classes,
            key=jax.random.fold_in(jax.random.key(self.seed), 0),
        )
        batches = self.epochs * (samples // self.batch_size)
        return network, scheduled_algorithm(self.algorithm, self.optimiser, batches)

    def _score(
        self, stage: Stage, network: Network, known: Data, train: Split, valid: Split, sets: dict[str, Split]
    ) -> dict[str, dict[str, np.ndarray]]:
        """Return label of the set -> score -> values; `label` among them is the class that the network names."""
        shape, static = known.shape, eqx.filter(network, eqx.is_array, inverse=True)
        solver = Gradient(self.rate)

        def fed(images: Any) -> Any:
            return known.transform.evaluate(images).reshape(len(images), *shape)

        steps = tuple(step / known.transform.std[0] for step in ODIN_STEPS)
        held_out = fed(valid.inputs[: 4 * BATCH])
        step = scores.best_step(network, held_out, steps)

        @jax.jit
        def score(arrays: Any, images: Any) -> dict[str, Any]:
            model, inputs = eqx.combine(arrays, static), fed(images)
            found = jax.vmap(lambda x: scores.of_outputs(model, x) | {"ODIN": scores.odin(model, x, step)})(inputs)
            found |= scores.of_energy(model, inputs, solver=solver, steps=self.steps)
            label = jnp.argmax(jax.vmap(lambda x: scores.logits(model, x))(inputs), axis=-1)
            return found | {"features": jax.vmap(lambda x: scores.features(model, x))(inputs), "label": label}

        def of_split(split: Split, compute: Callable) -> dict[str, np.ndarray]:
            indices, weights = evaluation_order(len(split), BATCH)
            parts = [jax.device_get(compute(eqx.filter(network, eqx.is_array), split.inputs[i])) for i in indices]
            kept = weights.reshape(-1) > 0
            return {name: np.concatenate([part[name] for part in parts])[kept] for name in parts[0]}

        @jax.jit
        def seen(arrays: Any, images: Any) -> dict[str, Any]:
            model = eqx.combine(arrays, static)
            return {"features": jax.vmap(lambda x: scores.features(model, x))(fed(images))}

        distance = scores.Mahalanobis(of_split(train, seen)["features"], train.labels)
        by_set = {}
        with stage.progress("scoring", len(sets)) as bar:
            for label, split in sets.items():
                found = of_split(split, score)
                by_set[label] = found | {"Mahalanobis": distance(found.pop("features"))}
                bar.advance(note=label)
        return by_set

    def _compare(self, stage: Stage, known: str, by_set: dict[str, dict[str, np.ndarray]]) -> None:
        """Measure every score on every foreign set, with intervals, and the energy against max softmax in pairs."""
        test = stage.record.test or {}
        others = [label for label in by_set if label != known]
        names = list(by_set[known])
        intervals = np.zeros((len(detection.MEASURES), len(names), len(others), 2))
        bootstrap: dict[str, Any] = {"resamples": self.resamples, "seed": self.seed}
        for j, other in enumerate(others):
            pairs = {name: (by_set[known][name].astype(float), by_set[other][name].astype(float)) for name in names}
            for i, (name, pair) in enumerate(pairs.items()):
                for m, (title, measure) in enumerate(detection.MEASURES.items()):
                    test[f"{title} {name}, {other}"] = float(measure(*pair))
                    intervals[m, i, j] = detection.interval(measure, *pair, **bootstrap)
                test[f"lowest quartile {name}, {other}"] = detection.lowest_quartile(*pair)
            for name in ("energy before", "energy after"):
                known_pair, foreign_pair = zip(pairs[name], pairs["max softmax"], strict=True)
                found = detection.difference(known_pair, foreign_pair, **bootstrap)
                for part, value in zip(("", " low", " high"), found, strict=True):
                    test[f"{name} over max softmax{part}, {other}"] = value
            test[f"mean energy before, {other}"] = float(by_set[other]["energy before"].mean())
            test[f"mean energy after, {other}"] = float(by_set[other]["energy after"].mean())
        stage.record.test = {name: value for name, value in test.items() if math.isfinite(value)}
        first = others[0]
        stage.record.shown = ["accuracy", *(f"auroc {name}, {first}" for name in ("max softmax", "energy after"))]
        stage.keep_arrays(
            {"intervals": intervals.astype(np.float32), "scores": np.array(names), "sets": np.array(others)}
        )


def _show(stage: Stage, known: str, sets: dict[str, Split], by_set: dict[str, dict[str, np.ndarray]]) -> None:
    """Add the distribution of the energies and a few samples of every set to the record."""
    for name in ("energy before", "energy after"):
        values = {label: np.maximum(found[name], 1e-6) for label, found in by_set.items()}
        low, high = np.quantile(values[known], 0.01), max(value.max() for value in values.values())
        edges = np.geomspace(low, high, BINS + 1)
        lines = {}
        for label, value in values.items():
            share = np.histogram(np.clip(value, low, high), edges)[0] / len(value)
            lines[label] = {"x": np.sqrt(edges[1:] * edges[:-1]).tolist(), "y": share.tolist()}
        reading = f"Share of samples in each of {BINS} bins, the network's own label clamped. {known} is known to it."
        title = f"{name.capitalize()} inference"
        stage.record.charts.append(Chart(title, "Energy, nats", "Share of samples", lines, log="x", reading=reading))
    stage.keep_arrays({"samples": np.stack([split.inputs[:SHOWN, ..., 0] for split in sets.values()])})
    reading = "The first samples of every set, as they are fed to the network but for its scaling."
    stage.record.images.append(Images("Samples", "samples", list(sets), reading))


def _rules() -> dict[str, type]:
    return exported_classes(algorithms, AbstractAlgorithm)


def _sets() -> dict[str, type]:
    return exported_classes(data, AbstractDataset)
