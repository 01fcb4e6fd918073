"""What experiments on classifiers have in common: their options, and trainings that share what is compiled."""

import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
import pydantic

from ..algorithms.contract import AbstractAlgorithm, TrainState
from ..core.network import Network
from ..data.dataset import Split
from . import metrics
from .build import network_label
from .classification import Classification, Parts, evaluator, resolve_config
from .experiment import AbstractExperiment, Stage
from .optimiser import Optimiser
from .progress import Reporter
from .train import classifier

#: Samples that are evaluated at a time.
EVALUATED = 500


class AbstractClassifying(AbstractExperiment, frozen=True):
    """An experiment on a classifier, with the options of `classification` that describe one.

    Attributes:
        dataset: name of the data set.
        network: {"name": ..., options of the builder}.
        algorithm: {"name": ..., options of the algorithm}.
        optimiser: the weight rule and its schedule.
        epochs: passes over the training samples.
        batch_size: samples a batch.
        validation: held-out part of the training split.
        subset: take so many samples of the training split, the held-out ones among them; None takes all.
        pixels: "normalised" as the data set says, or "unit", from 0 to 1, for networks of firing rates.
    """

    dataset: str = "mnist"
    network: dict[str, Any] = pydantic.Field(default={"name": "mlp"})
    algorithm: dict[str, Any] = pydantic.Field(default={"name": "PC"})
    optimiser: Optimiser = Optimiser()
    epochs: int = pydantic.Field(default=5, ge=1)
    batch_size: int = pydantic.Field(default=50, ge=1)
    validation: int | float = pydantic.Field(default=0.1, gt=0)
    subset: int | None = pydantic.Field(default=None, ge=1)
    pixels: Literal["normalised", "unit"] = "normalised"

    def classification(self) -> Classification:
        """Return the classification with the same options."""
        shared = (name for name in Classification.model_fields if name in type(self).model_fields)
        return Classification(**{name: getattr(self, name) for name in shared})

    def network_options(self) -> dict[str, Any]:
        """Return the builder's name and options."""
        return self.network

    def check(self) -> None:
        resolve_config(self.classification())

    def resolved(self) -> dict[str, Any]:
        whole = resolve_config(self.classification())
        kept = {name: whole[name] for name in ("dataset", "label", "network", "algorithm")}
        return self.model_dump() | kept | {"task": self.name}

    def names(self) -> dict[str, str]:
        whole = self.resolved()
        return {
            "label": whole["label"],
            "algorithm": whole["algorithm"]["name"],
            "network": network_label(self.network),
            "dataset": whole["dataset"],
        }


class Course:
    """Trainings of one algorithm on one kind of network and the same samples, with a step that is compiled once.

    Attributes:
        memory_mebibytes: what the step holds at its peak.
        epoch_seconds: processor time of the quickest epoch, which other programs on the machine do not lengthen.
    """

    def __init__(self, stage: Stage, parts: Parts, algorithm: AbstractAlgorithm, network: Network, batch_size: int):
        self.stage, self.parts, self.algorithm, self.batch_size = stage, parts, algorithm, batch_size
        self.compiled: Callable | None = None
        self.memory_mebibytes: float | None = None
        self.epoch_seconds = math.inf
        state = self.start(network)
        self.evaluate = evaluator(dataclasses.replace(parts, state=state, algorithm=algorithm), EVALUATED)

    def start(self, network: Network) -> TrainState:
        """Return the train state before the first batch, with buffers of its own: steps give theirs away."""
        return owned(self.algorithm.init(network, key=jax.random.key(self.stage.record.seed)))

    def train(self, state: TrainState, epochs: range, title: str) -> tuple[TrainState, list[dict[str, Any]]]:
        """Train for the epochs of these numbers; the state that is given can no longer be used.

        Returns:
            (the new state, an entry of the history for every epoch).

        Raises:
            Diverged: if energies or states leave the finite numbers.
        """
        data, seed = self.parts.data, self.stage.record.seed
        trainer = classifier(
            self.algorithm,
            state,
            self.parts.train,
            data.transform,
            data.number_of_classes,
            self.batch_size,
            seed,
            self.compiled,
        )
        reporter, history = Reporter(f"{self.stage.title}, {title}", quiet=self.stage.quiet), []
        with reporter.run(epochs.stop, epochs.start, trainer.steps), self.stage.timed("train"):
            for epoch in epochs:
                began = time.process_time()
                state, means = trainer.epoch(state, epoch, reporter)
                self.epoch_seconds = min(self.epoch_seconds, time.process_time() - began)
                history.append({"epoch": epoch + 1, "energies": means.pop("energies"), "train": means})
                reporter.epoch(epoch + 1, energy=means["energy"])
        self.compiled, self.memory_mebibytes = trainer.compiled, trainer.memory_mebibytes
        return state, history

    def accuracy(self, state: TrainState, split: Split) -> float:
        """Return the share of the samples of a split whose class has the lowest energy."""
        with self.stage.timed("evaluate"):
            counts = self.evaluate(eqx.partition(state.network, eqx.is_array)[0], split)
        return metrics.summarise(counts)["accuracy"]


def owned(state: TrainState) -> TrainState:
    """Return the state with copies of its arrays."""
    return jax.tree.map(lambda leaf: jnp.array(leaf) if eqx.is_array(leaf) else leaf, state)


def with_rules(algorithm: AbstractAlgorithm, *rules: optax.GradientTransformation) -> AbstractAlgorithm:
    """Return the algorithm with a chain of weight rules."""
    return dataclasses.replace(algorithm, optimiser=optax.chain(*rules))
