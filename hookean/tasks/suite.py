"""Suites of runs: what `hookean benchmark` runs or resumes, over all tasks."""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..data.dataset import DataError
from ..record import Record
from ..registry import UnknownName, find
from . import grid
from .build import ConfigError
from .contract import AbstractTask

#: What a preset says to its reader or to those who run it, and no task has as an option.
ABOUT = ("about", "expected", "suite", "seeds")
#: The smallest suite is no preset: every task has a version of itself that takes seconds.
SMOKE = "smoke"
SUITES = (SMOKE, "small", "full")


@dataclasses.dataclass(frozen=True)
class Entry:
    """A preset or a part of a suite: a name, and what it runs."""

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
    return [entry(p, values, tasks) for p, values in presets.items() if values.get("suite", "full") == name]


def entry(name: str, values: Mapping[str, Any], tasks: Mapping[str, type[AbstractTask]]) -> Entry:
    """Return what a preset runs: its task (default: classification), the options of it, and its seeds (default: 1).

    Raises:
        UnknownName: if there is no such task.
        ConfigError: if its number of seeds is none.
    """
    task = find(str(values.get("task", "classification")), tasks, "task")
    seeds = values.get("seeds", 1)
    if not isinstance(seeds, int) or isinstance(seeds, bool) or seeds < 1:
        raise ConfigError(f"the preset {name} must have a whole number of seeds from 1, got {seeds!r}.")
    return Entry(name, task, {key: value for key, value in values.items() if key not in (*ABOUT, "task")}, seeds)


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
            configs = grid.study(entry.task, entry.values, {}, entry.seeds)
            records = grid.run_all(configs, folder, resume=True, quiet=quiet)
        except (DataError, ConfigError, UnknownName) as error:
            missing = str(error)
        outcomes.append(Outcome(entry, records, missing, time.perf_counter() - began))
        tell(outcomes[-1])
    return outcomes
