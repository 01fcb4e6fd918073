"""Task `search`: choose options of a training run by held-out figures alone, with Optuna."""

import contextlib
import json
import math
import multiprocessing
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import jax
import pydantic
import tomli_w

from .. import data
from ..data.dataset import AbstractDataset
from ..record import Chart, Record, write_record, write_text
from ..registry import UnknownName, exported_classes, find
from .build import ConfigError, network_label
from .classification import Classification
from .config import configure
from .contract import without_none
from .depth import Depth
from .experiment import AbstractExperiment, Stage
from .grid import at
from .sections import merge
from .space import Dimension, read_space
from .trials import FACTS, OBJECTIVES, Trials

#: Tasks whose options can be searched, by name.
TASKS: dict[str, type[Classification]] = {task.name: task for task in (Classification, Depth)}


class Search(AbstractExperiment, frozen=True):
    """Search over the options of a training run by held-out figures; the test split is left alone.

    Attributes:
        trial: what all trials share: `task` (classification or depth) and its options.
        space: option, as in `algorithm.steps` -> {low, high, log, step} or a list of choices, and `when`.
        objectives: one or two of accuracy, top5, cross_entropy, calibration_error and energy, measured on the held-out
            samples at the selected epoch, passes (per batch), parameters and seconds (of training). Two give a front.
        trials: how many in all, over all processes and sessions.
        minutes: after which no trial begins; None sets no limit.
        sampler: tpe, random or nsgaii (for two objectives and many trials).
        pruner: gives up trials that lie behind after an epoch: median, halving or none; None takes median for one
            held-out objective, and none otherwise.
        jobs: processes that this one starts or is.
    """

    name: ClassVar[str] = "search"
    smoke: ClassVar[Mapping[str, Any]] = {
        "trials": 2,
        "trial": {"dataset": "digits", "network": {"name": "mlp", "hidden": [8]}, "algorithm": "BP", "epochs": 1},
        "space": {"optimiser": {"rate": {"low": 1e-3, "high": 1e-2, "log": True}}},
    }
    may_change: ClassVar[tuple[str, ...]] = ("trials", "minutes", "jobs", "label", "download")
    trial: dict[str, Any] = pydantic.Field(default={})
    space: dict[str, Any] = pydantic.Field(default={})
    objectives: list[str] = pydantic.Field(default=["accuracy"], min_length=1, max_length=2)
    trials: int = pydantic.Field(default=20, ge=1)
    minutes: float | None = pydantic.Field(default=None, gt=0)
    sampler: Literal["tpe", "random", "nsgaii"] = "tpe"
    pruner: Literal["median", "halving", "none"] | None = None
    jobs: int = pydantic.Field(default=1, ge=1)

    def names(self) -> dict[str, str]:
        base = self.config({})
        return {
            "label": self.label or f"{' and '.join(self.objectives)} by {self.sampler}",
            "algorithm": str(base.algorithm["name"]),
            "network": network_label(base.network),
            "dataset": find(base.dataset, exported_classes(data, AbstractDataset), "data set").__name__,
        }

    def config(self, point: Mapping[str, Any]) -> Classification:
        """Return the config of a trial at a point of the space, which leaves the test split alone.

        Raises:
            ConfigError: if there is no such option, or the values do not go together.
        """
        task = find(str(self.trial.get("task", "classification")), TASKS, "task to search over")
        options = {key: value for key, value in self.trial.items() if key != "task"}
        own = {"seed": self.seed, "evidence": 0, "download": self.download, "double_precision": self.double_precision}
        return configure(task, at(own | options, point) | {"test": False})

    def check(self) -> None:
        for objective in self.objectives:
            find(objective, dict.fromkeys(OBJECTIVES), "objective")
        if len(set(self.objectives)) < len(self.objectives):
            raise ConfigError(f"objectives must differ, got {self.objectives}.")
        if self.pruner not in (None, "none") and self._pruner() == "none":
            raise ConfigError(
                f"pruner must be none for the objectives {self.objectives}: it watches a held-out figure."
            )
        space = read_space(self.space)
        first: dict[str, Any] = {}
        for dimension in space:
            if dimension.set(first):
                first[dimension.path] = dimension.ends[0]
        for dimension in space:
            self._check(dimension, first, space)

    def _check(self, dimension: Dimension, first: Mapping[str, Any], space: Sequence[Dimension]) -> None:
        """Raise ConfigError if no value of an option makes a config, where the others have their first values."""
        conditions = {path: values[0] for path, values in dimension.when.items()}
        wrong = None
        for value in dimension.ends:
            point = {**first, **conditions, dimension.path: value}
            kept = {d.path: point[d.path] for d in space if d.path in point and d.set(point)}
            try:
                self.config(kept).check()
                return
            except (ConfigError, UnknownName) as error:
                wrong = wrong or error
        raise ConfigError(f"space.{dimension.path}: none of its values makes a config. {wrong}") from wrong

    def _run(self, folder: Path, resume: bool, quiet: bool) -> Record:
        record = super()._run(folder, resume, quiet)
        done = int((record.test or {}).get("trials", 0))
        if self.minutes is not None and done < self.trials:
            record.status, record.finished = "interrupted", None
            record.message = (
                f"The {self.minutes:g} minutes were over after {done} of {self.trials} trials. "
                "Run the same command again to go on (with --resume, if it is hookean run)."
            )
            write_record(folder, record)
        return record

    def measure(self, stage: Stage) -> None:
        trials = self.open(stage.folder)
        with stage.progress("trials", self.trials) as bar:

            def show(note: str = "") -> None:
                """Show how many trials have ended, those of other processes among them."""
                ended = sum(trial.state.is_finished() for trial in trials.counted())
                if ended > bar.done:
                    bar.advance(ended - bar.done, note=note)

            with self._helpers(stage.folder):
                show()
                trials.work(self.trials, self._seconds(), lambda trial: show(_note(trial)))
            show()
        self._report(stage, trials)

    def open(self, folder: Path) -> Trials:
        """Return the trials of this search in its folder, new or those that are there."""
        config = {key: value for key, value in self.model_dump().items() if key not in self.may_change}
        return Trials(
            folder,
            "/".join(self.cell()),
            json.dumps(config, sort_keys=True),
            self.config,
            read_space(self.space),
            self.objectives,
            self.sampler,
            self._pruner(),
            self.seed,
        )

    def _pruner(self) -> str:
        watched = len(self.objectives) == 1 and self.objectives[0] not in FACTS
        return (self.pruner or "median") if watched else "none"

    def _seconds(self) -> float:
        return math.inf if self.minutes is None else 60 * self.minutes

    @contextlib.contextmanager
    def _helpers(self, folder: Path) -> Iterator[None]:
        """Have `jobs - 1` further processes work on the same trials."""
        context = multiprocessing.get_context("spawn")
        helpers = [context.Process(target=work, args=(str(folder),), daemon=True) for _ in range(self.jobs - 1)]
        try:
            for helper in helpers:
                helper.start()
            yield
            for helper in helpers:
                helper.join()
        finally:
            for helper in helpers:
                helper.terminate()  # what it was at is begun again by whoever goes on

    def _report(self, stage: Stage, trials: Trials) -> None:
        """Fill the record, and write the table of the trials and the preset of the best."""
        rows = [self._row(trials, trial) for trial in trials.counted() if trial.state.is_finished()]
        best = [trial.number for trial in trials.study.best_trials]
        if best and len(self.objectives) == 1:  # trials with the same figure are no front
            best = [trials.study.best_trial.number]
        found = {"objectives": {o: OBJECTIVES[o] for o in self.objectives}, "best": best, "trials": rows}
        write_text(stage.folder / "trials.json", json.dumps(found, indent=1) + "\n")
        states = [row["state"] for row in rows]
        record = stage.record
        counts = {"trials": len(rows), "pruned": states.count("pruned"), "failed": states.count("fail")}
        record.test = {name: float(number) for name, number in counts.items()}
        if not best:
            why = sorted({str(row["reason"]) for row in rows})
            stage.diverged(f"no trial came to an end. {' '.join(why)}")
        ended = [row for row in rows if row["state"] == "complete"]
        first = self.objectives[0]
        front = sorted((row for row in ended if row["number"] in best), key=lambda row: row["values"][first])
        if OBJECTIVES[first] == "maximize":
            front.reverse()
        write_text(stage.folder / "best.toml", tomli_w.dumps(without_none(self.best(front))))
        record.test = {_title(o): front[0]["values"][o] for o in self.objectives} | record.test
        record.shown = list(record.test)
        record.charts = [*self._progress(ended), *self._front(front), *_importance(trials)]

    def _row(self, trials: Trials, trial: Any) -> dict[str, Any]:
        values = dict(zip(self.objectives, trial.values, strict=True)) if trial.values else None
        reason = trial.user_attrs.get("reason")
        if reason is None and trial.state.name == "FAIL":
            reason = "its process was killed each time"
        point = trials.point(trial)
        row = {"number": trial.number, "state": trial.state.name.lower(), "values": values, "options": point}
        return row | {"reason": reason, "run": trial.user_attrs.get("run")}

    def best(self, front: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return the preset that trains the best trials again and tests each of them once.

        Arguments:
            front: rows of the best trials: one for one objective, those that no other beats in both for two.
        """
        task = {"task": "classification", "seed": self.seed, "double_precision": self.double_precision} | self.trial
        about = {"about": f"Chosen by {' and '.join(self.objectives)} on held-out samples"}
        points = [at({}, row["options"]) for row in front]
        if len(points) == 1:
            return merge(about | task, points[0])
        labels = [f"trial {row['number']}" for row in front]
        return about | task | {"variants": [{"label": label} | p for label, p in zip(labels, points, strict=True)]}

    def _progress(self, ended: Sequence[Mapping[str, Any]]) -> list[Chart]:
        charts = []
        for objective in self.objectives:
            x = [float(row["number"]) for row in ended]
            y = [row["values"][objective] for row in ended]
            better = max if OBJECTIVES[objective] == "maximize" else min
            best = [better(y[: i + 1]) for i in range(len(y))]
            title = f"Search: {_title(objective)} over the trials"
            lines = {"trial": {"x": x, "y": y}, "best so far": {"x": x, "y": best}}
            charts.append(Chart(title, "trial", _title(objective), lines, reading="Trials that came to an end."))
        return charts

    def _front(self, front: Sequence[Mapping[str, Any]]) -> list[Chart]:
        if len(self.objectives) == 1:
            return []
        first, second = self.objectives
        points = sorted((row["values"][second], row["values"][first]) for row in front)
        line = {"x": [x for x, _ in points], "y": [y for _, y in points]}
        reading = "Trials that no other trial beats in both: the best to be had at each price."
        return [Chart("Search: Pareto front", _title(second), _title(first), {"": line}, reading=reading)]


def work(folder: str) -> None:
    """Work on the trials of a search in the folder of its run, as a process of its own."""
    values = tomllib.loads((Path(folder) / "config.toml").read_text())
    config = configure(Search, {key: value for key, value in values.items() if key != "task"})
    with jax.enable_x64(True) if config.double_precision else contextlib.nullcontext():
        config.open(Path(folder)).work(config.trials, config._seconds(), lambda trial: None)


def _importance(trials: Trials) -> list[Chart]:
    """Return how much of the variance of the first objective each option explains, where enough trials tell."""
    importance = trials.library.importance
    try:
        shares = importance.get_param_importances(
            trials.study,
            evaluator=importance.FanovaImportanceEvaluator(seed=0),
            target=lambda trial: trial.values[0],
        )
    except (ValueError, RuntimeError):  # fewer than two trials, or all have one figure
        return []
    lines = {
        option: {"x": [float(rank)], "y": [float(share)]} for rank, (option, share) in enumerate(shares.items(), 1)
    }
    reading = "Share of the variance over the space, by functional ANOVA of a forest; options that all trials set."
    chart = Chart("Search: importance of the options", "rank", "share of the variance", lines, reading=reading)
    return [chart] if lines else []


def _title(objective: str) -> str:
    return {"passes": "passes per batch", "seconds": "seconds of training", "parameters": "parameters"}.get(
        objective, f"held-out {objective.replace('_', ' ')}"
    )


def _note(trial: Any) -> str:
    figures = ", ".join(f"{value:.4g}" for value in trial.values or ())
    return f"trial {trial.number}: {figures or trial.state.name.lower()}"
