"""Suites of runs: what `hookean benchmark` runs or resumes, over all tasks."""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..data.dataset import DataError
from ..record import Record
from ..registry import UnknownName
from .build import ConfigError
from .contract import AbstractTask
from .grid import run_all, study

#: What a preset says to its reader or to a suite, and no task has as an option.
ABOUT = ("about", "expected", "suite", "seeds")
#: The smallest suite is no preset: every task has a version of itself that takes seconds.
SMOKE = "smoke"
SUITES = (SMOKE, "small", "full")


@dataclasses.dataclass(frozen=True)
class Entry:
    """A part of a suite: a name, and the configs that it runs."""

    name: str
    task: type[AbstractTask]
    values: Mapping[str, Any]
    seeds: int


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of an entry: its records, or the reason why there are none."""

    entry: Entry
    records: Sequence[Record]
    missing: str
    seconds: float


def suite(name: str, presets: Mapping[str, Mapping[str, Any]], tasks: Mapping[str, type[AbstractTask]]) -> list[Entry]:
    """Return the entries of a suite.

    Arguments:
        name: `smoke` (every task in its smallest version), `small` (presets that say `suite = "small"`) or `full` (the
            other presets).
        presets: name -> values of the file.
        tasks: name -> task.

    Raises:
        ConfigError: if there is no such suite.
    """
    if name not in SUITES:
        raise ConfigError(f"the suite must be one of {', '.join(SUITES)}, got '{name}'.")
    if name == SMOKE:
        return [Entry(task.name, task, dict(task.smoke), 1) for task in tasks.values()]
    entries = []
    for preset, values in presets.items():
        if values.get("suite", "full") == name:
            options = {key: value for key, value in values.items() if key not in (*ABOUT, "task")}
            task = tasks[str(values.get("task", "classification"))]
            entries.append(Entry(preset, task, options, int(values.get("seeds", 1))))
    return entries


def run_suite(
    entries: Sequence[Entry], out: Path, *, quiet: bool, tell: Callable[[Outcome], None] = lambda _: None
) -> list[Outcome]:
    """Run every entry into `out/<task>/<entry>`; finished runs are kept, killed ones go on.

    An entry whose data are missing or whose config is wrong has a reason in the place of records; a run that diverges
    has a record that says so. Neither stops the others.
    """
    outcomes = []
    for entry in entries:
        began = time.perf_counter()
        records: Sequence[Record] = []
        missing = ""
        folder = out / entry.task.name / entry.name  # as below `results/`
        try:
            records = run_all(study(entry.task, entry.values, {}, entry.seeds), folder, resume=True, quiet=quiet)
        except (DataError, ConfigError, UnknownName) as error:
            missing = str(error)
        outcomes.append(Outcome(entry, records, missing, time.perf_counter() - began))
        tell(outcomes[-1])
    return outcomes
