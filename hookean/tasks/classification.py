"""Task `classification`: train a network on labelled samples, select on held-out ones, test once."""

import dataclasses
import inspect
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pydantic

from .. import algorithms, data
from ..algorithms.contract import AbstractAlgorithm, TrainState
from ..core import builders
from ..core.network import Network
from ..core.normalise import averaged, measured
from ..core.parameters import count_parameters
from ..data.dataset import AbstractDataset, Data, Split
from ..data.split import subset, validation_split, with_label_noise
from ..record import Record, environment, write_arrays, write_record, write_text
from ..registry import exported_classes, exported_functions, find
from . import checkpoint, evidence, metrics
from .build import ConfigError, construct, network_label, resolve, scheduled_algorithm
from .contract import AbstractTask, config_text, finished, folder_name, now, require_same
from .optimiser import Optimiser
from .progress import Reporter
from .train import Diverged, classifier, labelled

#: Samples whose prediction errors are kept for pictures.
SHOWN = 8
#: Is shown the record after every epoch of training; a text that it returns ends the run, and is the reason.
Watch = Callable[[Record], str | None]


class Classification(AbstractTask, frozen=True):
    """Train a network on labelled samples, select on held-out ones, test once.

    Attributes:
        dataset: name of the data set.
        network: {"name": ..., options of the builder}.
        algorithm: {"name": ..., options of the algorithm}.
        optimiser: the weight rule and its schedule.
        label: what tables call the run (default: the algorithm's label).
        epochs: passes over the training samples.
        batch_size: samples a batch (default 128, as in the benchmark).
        seed: of weights, shuffling, augmentation and everything else that is drawn.
        validation: held-out part of the training split, a number of samples or a fraction; the same for every seed.
        subset: train on so many samples only (chosen with equal shares of the classes); None takes all.
        label_noise: share of the training labels that are replaced by another class, drawn with the run's seed; the
            held-out and the test labels stay true (default 0).
        pixels: "normalised" as the data set says, or "unit" as they lie, from 0 to 1 (for networks whose states are
            firing rates); features are left alone.
        selection: test the network of the epoch with the best held-out accuracy, or the last one.
        patience: stop after so many epochs without a better held-out accuracy; None never stops early.
        evidence: measure residual and gradient angle every so many epochs (and at the end); 0 never.
        checkpoint: write a checkpoint every so many epochs.
        test: measure on the test split at the end, once (default); false leaves it alone, and the run ends with the
            figures of the held-out samples.
        double_precision: compute in float64, which deep equilibria need to be told from rounding (default false).
        download: allow the data set to be fetched from the public hub.
    """

    name: ClassVar[str] = "classification"
    smoke: ClassVar[Mapping[str, Any]] = {"epochs": 2}
    dataset: str = "digits"
    network: dict[str, Any] = pydantic.Field(default={"name": "mlp"})
    algorithm: dict[str, Any] = pydantic.Field(default={"name": "PC"})
    optimiser: Optimiser = Optimiser()
    label: str | None = None
    epochs: int = pydantic.Field(default=10, ge=0)
    batch_size: int = pydantic.Field(default=128, ge=1)
    validation: int | float = pydantic.Field(default=0.1, gt=0)
    subset: int | None = pydantic.Field(default=None, ge=1)
    label_noise: float = pydantic.Field(default=0.0, ge=0, le=1)
    pixels: Literal["normalised", "unit"] = "normalised"
    selection: Literal["best", "last"] = "best"
    patience: int | None = pydantic.Field(default=None, ge=1)
    evidence: int = pydantic.Field(default=1, ge=0)
    checkpoint: int = pydantic.Field(default=1, ge=1)
    test: bool = True
    double_precision: bool = False
    download: bool = False

    def cell(self) -> tuple[str, ...]:
        rule = find(str(self.algorithm["name"]), exported_classes(algorithms, AbstractAlgorithm), "algorithm")
        network = network_label(self.network_options()).replace(" ", "-")
        places = (self.dataset.lower(), network, self.label or rule.label)
        return (*map(folder_name, places), f"seed-{self.seed}")

    def network_options(self) -> dict[str, Any]:
        """Return the builder's name and options."""
        return self.network

    def check(self) -> None:
        resolve_config(self)

    def run(self, folder: Path, *, resume: bool = False, quiet: bool = False, watch: Watch | None = None) -> Record:
        if not self.double_precision:
            return run(self, folder, resume=resume, quiet=quiet, watch=watch)
        with jax.enable_x64(True):
            return run(self, folder, resume=resume, quiet=quiet, watch=watch)


@dataclasses.dataclass(frozen=True)
class Parts:
    """What a config stands for: the data, the network, the algorithm, and the config with every default written out."""

    data: Data
    train: Split
    valid: Split
    state: TrainState
    algorithm: AbstractAlgorithm
    resolved: dict[str, Any]


def build(config: Classification) -> Parts:
    """Load the data and build everything that the config names.

    Raises:
        ConfigError, UnknownName, DataError: if it names something unknown, wrong or missing.
    """
    resolved = resolve_config(config)  # whatever is wrong is said before the data are loaded
    dataset = find(config.dataset, exported_classes(data, AbstractDataset), "data set")()
    loaded = dataset.load(download=config.download)
    if config.pixels == "unit":
        loaded = dataclasses.replace(loaded, transform=loaded.transform.unit())
    train, valid = _parts_of(loaded.train, config)
    if len(train.labels) < config.batch_size:
        raise ConfigError(
            f"batch_size must be at most the number of training samples, {len(train.labels)}, got {config.batch_size}."
        )
    key = jax.random.key(config.seed)
    network, _ = construct(
        config.network_options(),
        exported_functions(builders),
        "network",
        inputs=loaded.shape,
        outputs=loaded.number_of_classes,
        key=jax.random.fold_in(key, 0),
    )
    batches = config.epochs * (len(train.labels) // config.batch_size)
    algorithm = scheduled_algorithm(config.algorithm, config.optimiser, batches)
    state = algorithm.init(network, key=key)
    return Parts(loaded, train, valid, state, algorithm, resolved)


def _parts_of(split: Split, config: Classification) -> tuple[Split, Split]:
    """Return (training, held-out) samples; the same for every seed of the run, but for noise in the labels."""
    name = "subset"
    try:
        full = split if config.subset is None else subset(split, config.subset, 0)
        name = "validation"
        train, valid = validation_split(full, size=config.validation, seed=0)
        return with_label_noise(train, config.label_noise, seed=config.seed), valid
    except ValueError as error:
        raise ConfigError(f"{name}: {error}") from error


def run(
    config: Classification, folder: Path, *, resume: bool = False, quiet: bool = False, watch: Watch | None = None
) -> Record:
    """Run one config into `folder` and return its record; `watch` may end it early, as `interrupted` with its reason.

    The folder holds `config.toml`, `record.json`, `checkpoint.safetensors` and `arrays.npz`. With `resume` a finished
    run is returned as it is, and a killed one goes on to the same result, to the last bit.

    Raises:
        ConfigError, UnknownName, DataError, CheckpointError, RecordError: with one message each.
    """
    began = time.perf_counter()
    earlier = finished(
        folder, config.model_dump(exclude_unset=True), lambda o: resolve_config(type(config)(**o)), resume=resume
    )
    if earlier is not None:
        return earlier
    parts = build(config)
    record = _record(config, parts)
    record.seconds["data"] = time.perf_counter() - began
    title = f"{record.label} on {record.dataset}, {record.network}, seed {record.seed}"
    return _Run(config, parts, folder, record, Reporter(title, quiet=quiet)).go(resume, watch)


def resolve_config(config: Classification) -> dict[str, Any]:
    """Return the config with every default written out, as records and checkpoints hold it; needs no data.

    Raises:
        ConfigError, UnknownName: if it names something unknown or wrong.
    """
    dataset = find(config.dataset, exported_classes(data, AbstractDataset), "data set")
    builder, _, network = resolve(config.network_options(), exported_functions(builders), "network")
    if "inputs" not in inspect.signature(builder).parameters:
        raise ConfigError(f"network: {builder.__name__} takes no inputs, so it cannot classify; use mlp, for example.")
    algorithm, _, options = resolve(config.algorithm, exported_classes(algorithms, AbstractAlgorithm), "algorithm")
    label = config.label or algorithm.label  # type: ignore[attr-defined]
    named = {"dataset": dataset.__name__, "label": label, "task": config.name}
    return config.model_dump() | {"network": network, "algorithm": options} | named


def evaluator(parts: Parts, batch_size: int) -> Callable[[Any, Split], metrics.Counts]:
    """Return a function (arrays of the network, split) -> counts, compiled once for all splits."""
    network = parts.state.network
    shape = network.shapes[network.input or ""]
    return metrics.evaluator(
        parts.algorithm.class_energies,
        lambda raw: parts.data.transform.evaluate(raw).reshape(raw.shape[0], *shape),
        eqx.partition(network, eqx.is_array)[1],
        batch_size,
        lambda arrays, static: averaged(eqx.combine(arrays, static)),
    )


def _record(config: Classification, parts: Parts) -> Record:
    return Record(
        task=config.name,
        label=parts.resolved["label"],
        algorithm=parts.resolved["algorithm"]["name"],
        network=network_label(parts.resolved["network"]),
        dataset=parts.data.label,
        seed=config.seed,
        config=parts.resolved,
        environment=environment(),
        started=now(),
        status="running",
        seconds={"data": 0.0, "compile": 0.0, "train": 0.0, "evaluate": 0.0, "evidence": 0.0, "total": 0.0},
        history=[],
        parameters=count_parameters(parts.state.network),
        passes=parts.algorithm.passes(parts.state.network),
        needs=parts.algorithm.needs.words(),
    )


class _Run:
    """One run: epochs of training, each followed by an evaluation, the evidence and a checkpoint."""

    def __init__(self, config: Classification, parts: Parts, folder: Path, record: Record, reporter: Reporter):
        self.config, self.parts, self.folder, self.record, self.reporter = config, parts, folder, record, reporter
        state = parts.state
        self.trainer = classifier(
            parts.algorithm,
            state,
            parts.train,
            parts.data.transform,
            parts.data.number_of_classes,
            config.batch_size,
            config.seed,
        )
        self.evaluate = evaluator(parts, min(500, max(config.batch_size, 64)))
        self.measure = jax.jit(self._measure)
        self.best = (-1.0, 0)
        self.chosen = jax.device_get(self._arrays(state))

    def go(self, resume: bool, watch: Watch | None) -> Record:
        """Train from the start or from the checkpoint, then select and test."""
        state, done = self._resumed() if resume else (self.parts.state, 0)
        write_text(self.folder / "config.toml", config_text(type(self.config), self.parts.resolved))
        # The step gives its buffers away: the arrays of the parts must stay readable.
        state = jax.tree.map(lambda leaf: jnp.array(leaf) if eqx.is_array(leaf) else leaf, state)
        self.began = time.perf_counter() - self.record.seconds["total"]
        try:
            with self.reporter.run(self.config.epochs, done, self.trainer.steps):
                if not self.record.history:
                    self._after_epoch(state, 0, None)
                for epoch in range(done, self.config.epochs):
                    if self._out_of_patience():
                        break
                    state, means = self.trainer.epoch(state, epoch, self.reporter)
                    self._after_epoch(state, epoch + 1, means)
                    reason = watch(self.record) if watch is not None else None
                    if reason is not None:
                        return self._interrupted(reason)
            self._finish(state)
        except Diverged as error:
            self.record.status, self.record.message = "diverged", str(error)
            self._write()
        except KeyboardInterrupt:
            self._interrupted("Stopped by the user. Run the same command with --resume to go on.")
            raise
        return self.record

    def _interrupted(self, reason: str) -> Record:
        self.record.status, self.record.message = "interrupted", reason
        self._write()
        return self.record

    def _after_epoch(self, state: TrainState, number: int, means: dict[str, Any] | None) -> None:
        began = time.perf_counter()
        held_out = metrics.summarise(self.evaluate(self._arrays(state), self.parts.valid))
        self.record.seconds["evaluate"] += time.perf_counter() - began
        entry: dict[str, Any] = {"epoch": number, "train": None, "valid": held_out}
        if means is not None:
            entry["energies"] = means.pop("energies")
            entry["train"] = means
        last = number == self.config.epochs
        if self.config.evidence and (number % self.config.evidence == 0 or last):
            entry |= self._evidence(state, number, "first" if number == 0 else "last")
        entry["seconds"] = time.perf_counter() - self.began
        self.record.history.append(entry)
        if held_out["accuracy"] > self.best[0]:
            self.best = (held_out["accuracy"], number)
            self.chosen = jax.device_get(self._arrays(state))
        if number % self.config.checkpoint == 0 or last:
            self._save(state, number)
        self._write()
        if means is not None:
            self.reporter.epoch(number, energy=means["energy"], held_out_accuracy=held_out["accuracy"])

    def _evidence(self, state: TrainState, number: int, which: str) -> dict[str, Any]:
        began = time.perf_counter()
        memory = eqx.filter(state.memory, eqx.is_array)
        found = jax.device_get(self.measure(self._arrays(state), memory, *self._evidence_sample(), jnp.asarray(number)))
        trace = evidence.plain_trace(found)
        if trace is not None:
            self.record.relaxation = (self.record.relaxation or {}) | {which: trace}
        self.record.seconds["evidence"] += time.perf_counter() - began
        kept = evidence.plain(found)
        return {name: kept[name] for name in ("residual", "state_residual", "cosine", "norm_ratio") if name in kept}

    def _measure(self, dynamic: Any, memory: Any, inputs: Any, labels: Any, epoch: Any) -> dict[str, Any]:
        network = self._network(dynamic)
        data = self.parts.data
        batch = labelled(network, data.transform.evaluate(inputs), labels, data.number_of_classes)
        network = measured(network, batch)
        memory = eqx.combine(memory, eqx.filter(self.parts.state.memory, eqx.is_array, inverse=True))
        return evidence.measure(self.parts.algorithm, network, batch, epoch=epoch, key=jax.random.key(0), memory=memory)

    def _evidence_sample(self) -> tuple[Any, Any]:
        size = max(SHOWN, self.config.batch_size)  # all of them, where fewer are held out
        return self.parts.valid.inputs[:size], self.parts.valid.labels[:size]

    def _arrays(self, state: TrainState) -> Any:
        return eqx.partition(state.network, eqx.is_array)[0]

    def _network(self, dynamic: Any) -> Network:
        return eqx.combine(dynamic, eqx.partition(self.parts.state.network, eqx.is_array)[1])

    def _out_of_patience(self) -> bool:
        patience = self.config.patience
        return patience is not None and self.record.history[-1]["epoch"] - self.best[1] >= patience

    def _finish(self, state: TrainState) -> None:
        """Test the selected network once, keep a few samples with their errors, and close the record."""
        dynamic = self._arrays(state) if self.config.selection == "last" else self.chosen
        last = self.record.history[-1]["epoch"]
        self.record.selected_epoch = last if self.config.selection == "last" else self.best[1]
        if self.config.test:
            self._test(dynamic)
            self._keep_samples(dynamic, eqx.filter(state.memory, eqx.is_array))
        self.record.status, self.record.finished = "finished", now()
        self._write()

    def _test(self, dynamic: Any) -> None:
        began = time.perf_counter()
        counts = self.evaluate(dynamic, self.parts.data.test)
        self.record.seconds["evaluate"] += time.perf_counter() - began
        tested = metrics.summarise(counts)
        self.record.test = {name: value for name, value in tested.items() if math.isfinite(value)}
        self.record.confusion = np.asarray(counts.confusion).astype(int).tolist()
        held = np.maximum(counts.count, 1)
        self.record.calibration = {
            "confidence": (np.asarray(counts.confidence) / held).tolist(),
            "accuracy": (np.asarray(counts.correct) / held).tolist(),
            "count": np.asarray(counts.count).astype(int).tolist(),
        }

    def _keep_samples(self, dynamic: Any, memory: Any) -> None:
        sample = self._evidence_sample()
        inputs, labels = (part[:SHOWN] for part in sample)
        network = averaged(self._network(dynamic))
        shape = network.shapes[network.input or ""]
        fed = self.parts.data.transform.evaluate(inputs).reshape(len(labels), *shape)
        energies = self.parts.algorithm.class_energies(network, fed)
        arrays = {
            "sample_images": np.asarray(inputs),
            "sample_labels": np.asarray(labels),
            "sample_predictions": np.asarray(jnp.argmin(energies, axis=-1)),
        }
        found = self.measure(dynamic, memory, *sample, jnp.asarray(self.record.selected_epoch))
        errors = found.get("errors", {})
        arrays |= {f"sample_error/{name}": np.asarray(error[:SHOWN], np.float32) for name, error in errors.items()}
        write_arrays(self.folder, arrays)

    def _save(self, state: TrainState, number: int) -> None:
        tree = {"state": eqx.partition(state, eqx.is_array)[0], "chosen": self.chosen}
        header = {"epoch": number, "best": self.best, "record": dataclasses.asdict(self.record)}
        checkpoint.save(self.folder / "checkpoint.safetensors", tree, header)

    def _resumed(self) -> tuple[TrainState, int]:
        """Return the state and the number of epochs behind it, from the checkpoint if there is one."""
        path = self.folder / "checkpoint.safetensors"
        if not path.exists():
            return self.parts.state, 0
        dynamic, static = eqx.partition(self.parts.state, eqx.is_array)
        tree, header = checkpoint.load(path, {"state": dynamic, "chosen": self.chosen})
        require_same(path, header["record"]["config"], self.record.config)
        self.chosen, self.best = tree["chosen"], tuple(header["best"])
        self.record = Record(**(header["record"] | {"status": "running", "message": None}))
        self.trainer.seconds |= {name: self.record.seconds[name] for name in self.trainer.seconds}
        return eqx.combine(tree["state"], static), header["epoch"]

    def _write(self) -> None:
        self.record.seconds |= self.trainer.seconds
        self.record.seconds["total"] = time.perf_counter() - self.began
        self.record.memory_mebibytes = self.trainer.memory_mebibytes or self.record.memory_mebibytes
        write_record(self.folder, self.record)
