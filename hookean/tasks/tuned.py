"""Task `tuned`: a rule with the best of a few rates, chosen on held-out samples, so that rules can be compared."""

import time
from collections.abc import Mapping
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import optax
import pydantic

from ..algorithms.contract import TrainState
from ..core.parameters import count_parameters
from ..record import Chart
from .build import ConfigError
from .classification import Classification, build
from .classifying import AbstractClassifying, Course, with_rules
from .experiment import Stage
from .optimiser import Optimiser
from .train import Diverged

RATE = "step_size"


class Tuned(AbstractClassifying, frozen=True):
    """Train once with each of several rates, choose by held-out accuracy, and test what was chosen, once.

    Every rule gets the same number of trainings, which is its whole budget for tuning. A rate that diverges has been
    tried like the others.

    Attributes:
        rates: values of `optimiser.rate`.

    The other options are those of `classification`.
    """

    name: ClassVar[str] = "tuned"
    smoke: ClassVar[Mapping[str, Any]] = {
        "dataset": "digits", "network": {"name": "mlp", "hidden": [16]}, "rates": [1e-3, 1e-2], "epochs": 1,
    }  # fmt: skip
    rates: tuple[float, ...] = pydantic.Field(default=(3e-4, 1e-3, 3e-3), min_length=1)

    @pydantic.field_validator("rates")
    @classmethod
    def _positive(cls, rates: tuple[float, ...]) -> tuple[float, ...]:
        if min(rates) <= 0 or len(set(rates)) < len(rates):
            raise ValueError(f"rates must be positive and differ from each other, got {list(rates)}")
        return rates

    def classification(self) -> Classification:
        whole = super().classification()
        if self.optimiser.rate != Optimiser().rate:
            raise ConfigError("optimiser.rate is what the task tuned chooses. Give rates instead.")
        return whole

    def measure(self, stage: Stage) -> None:
        began = time.perf_counter()
        parts = build(self.classification())
        stage.record.seconds["data"] = time.perf_counter() - began
        updates = self.epochs * (len(parts.train) // self.batch_size) * parts.algorithm.updates_per_batch()
        # All rates share one compiled step: the rate is part of the train state.
        rule = self.optimiser.model_copy(update={"rate": 1.0}).build(updates)
        algorithm = with_rules(parts.algorithm, rule, optax.inject_hyperparams(optax.scale)(**{RATE: 1.0}))
        course = Course(stage, parts, algorithm, parts.state.network, self.batch_size)
        held: dict[float, float] = {}
        best: TrainState | None = None
        for rate in self.rates:
            start = eqx.tree_at(
                lambda s: s.optimiser[1].hyperparams[RATE], course.start(parts.state.network), jnp.asarray(rate)
            )
            try:
                state, history = course.train(start, range(self.epochs), f"rate {rate:g}")
            except Diverged:
                held[rate] = 0.0
                continue
            held[rate] = course.accuracy(state, parts.valid)
            if held[rate] == max(held.values()) and (best is None or held[rate] > max(list(held.values())[:-1])):
                best, stage.record.history = state, history
        if best is None:
            stage.diverged(f"training diverged at every rate of {list(self.rates)}. Give smaller rates.")
        self._report(stage, course, best, held)

    def _report(self, stage: Stage, course: Course, best: TrainState, held: Mapping[float, float]) -> None:
        record, parts = stage.record, course.parts
        chosen = max(held, key=lambda rate: held[rate])
        record.test = {
            "accuracy": course.accuracy(best, parts.data.test),
            "held out %": 100 * held[chosen],
            "rate": chosen,
            "processor s": self.epochs * course.epoch_seconds,
        }
        record.shown = ["accuracy", "rate", "processor s"]
        record.parameters = count_parameters(best.network)
        record.passes = parts.algorithm.passes(best.network)
        record.needs = parts.algorithm.needs.words()
        record.memory_mebibytes = course.memory_mebibytes
        line = {"x": list(held), "y": [100 * value for value in held.values()]}
        record.charts = [
            Chart(
                "Held-out accuracy against the rate", "rate of the weights", "held-out accuracy, %", {"": line}, "x",
                reading="What each training of the tuning budget gave. A rate that diverged stands at zero.",
            )
        ]  # fmt: skip
