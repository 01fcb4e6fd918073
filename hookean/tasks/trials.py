"""The trials of a search: who proposes them, where they are kept, and what becomes of one whose process was killed."""

import contextlib
import dataclasses
import itertools
import math
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ..data.dataset import DataError
from ..record import Record, RecordError
from .build import ConfigError
from .classification import Classification
from .grid import KEPT
from .space import Dimension, suggest

#: What a search can be after -> its direction. All are known without the test split.
OBJECTIVES = {
    "accuracy": "maximize",
    "top5": "maximize",
    "cross_entropy": "minimize",
    "calibration_error": "minimize",
    "energy": "minimize",
    "passes": "minimize",
    "parameters": "minimize",
    "seconds": "minimize",
}
#: Objectives that are facts of a run and not measured on held-out samples after every epoch.
FACTS = ("passes", "parameters", "seconds")
SAMPLERS = {"tpe": "TPESampler", "random": "RandomSampler", "nsgaii": "NSGAIISampler"}
PRUNERS = {"median": "MedianPruner", "halving": "SuccessiveHalvingPruner", "none": "NopPruner"}
#: How often a trial may have its process killed: one that needs too much memory would be tried for ever.
ATTEMPTS = 3
#: Seconds between two looks at the trials of other processes, once none is left to begin.
LOOK = 0.3


def optuna() -> Any:
    """Return the library, which is an extra of the installation.

    Raises:
        ConfigError: if it is not installed.
    """
    try:
        import filelock
        import optuna
    except ImportError as error:
        raise ConfigError('a search needs Optuna and filelock: pip install "hookean[search]".') from error
    del filelock
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


@dataclasses.dataclass
class Trials:
    """The trials of one search, in a folder that any number of processes may share.

    `study.journal` is Optuna's storage. `trials/0007.json` is the record of trial 7, which has no test figures. While a
    trial runs, its process holds a lock on `trials/0007.lock`, which the system lets go when the process dies.

    Arguments:
        folder: where they are kept.
        name: of the study, in the storage.
        config: what must be the same in all processes and all sessions, as text.
        task: (option -> value) -> config of a trial.
        space, objectives, sampler, pruner, seed: see `hookean.tasks.Search`.
    """

    folder: Path
    name: str
    config: str
    task: Callable[[dict[str, Any]], Classification]
    space: Sequence[Dimension]
    objectives: Sequence[str]
    sampler: str
    pruner: str
    seed: int

    def __post_init__(self) -> None:
        library = self.library = optuna()
        (self.folder / "trials").mkdir(parents=True, exist_ok=True)
        # The lock of a killed process is free at once; Optuna's own would stay for half a minute.
        path, lock = str(self.folder / "study.journal"), self._lock("study.journal.lock")
        backend = library.storages.journal.JournalFileBackend(path, lock_obj=lock)
        with self._lock("study.lock"):
            self.study = library.create_study(
                storage=library.storages.JournalStorage(backend),
                study_name=self.name,
                directions=[OBJECTIVES[objective] for objective in self.objectives],
                pruner=getattr(library.pruners, PRUNERS[self.pruner])(),
                load_if_exists=True,
            )
            if self.study.user_attrs.get("config", self.config) != self.config:
                raise ConfigError(f"{self.folder} holds a search with other options. Choose another --out.")
            self.study.set_user_attr("config", self.config)

    def work(self, number: int, seconds: float, tell: Callable[[Any], None]) -> None:
        """Run trials until the study has `number` of them, also counting those of other processes, or time is up.

        Arguments:
            number: trials in all, over all processes and sessions.
            seconds: after which no trial begins.
            tell: is shown every trial that this process has ended.
        """
        until = time.monotonic() + seconds
        for done in itertools.count(1):
            begun = None
            while begun is None:
                with self._lock("study.lock"):  # from proposing a trial to holding its lock nobody else may look
                    self._retry_killed()
                    states = [trial.state.name for trial in self.counted()]
                    behind = len(states) - states.count("WAITING")
                    if time.monotonic() > until or (behind >= number and "RUNNING" not in states):
                        return
                    begun = self._begin(behind) if behind < number else None
                time.sleep(0 if begun else LOOK)
            trial, lock = begun
            with lock:
                self._run(trial)
            Path(lock.lock_file).unlink(missing_ok=True)
            tell(self.study.get_trials(deepcopy=False)[trial.number])
            if done % KEPT == 0:
                jax.clear_caches()

    def counted(self) -> list[Any]:
        """Return the trials of the study, without those that were stopped and begun again."""
        trials = self.study.get_trials(deepcopy=False)
        again = {trial.user_attrs.get("again") for trial in trials}
        return [trial for trial in trials if trial.number not in again]

    def point(self, trial: Any) -> dict[str, Any]:
        """Return option -> value of a trial."""
        params = trial.params
        return {d.path: d.value(params[d.path]) for d in self.space if d.path in params}

    def _begin(self, behind: int) -> tuple[Any, Any]:
        """Return a new trial, or one that waits to be begun again, and its lock; `behind` have begun before."""
        # A sampler of its own for every trial: a search that goes on proposes what it would have proposed.
        seed = int(np.random.SeedSequence([self.seed, behind]).generate_state(1)[0])
        self.study.sampler = getattr(self.library.samplers, SAMPLERS[self.sampler])(seed=seed)
        trial = self.study.ask()
        lock = self._lock(f"trials/{trial.number:04d}.lock")
        lock.acquire()
        return trial, lock

    def _retry_killed(self) -> None:
        """End the trials whose processes are gone, and queue their values again."""
        import filelock

        for trial in self.study.get_trials(deepcopy=False, states=(self._state("RUNNING"),)):
            with (
                contextlib.suppress(filelock.Timeout),
                self._lock(f"trials/{trial.number:04d}.lock").acquire(timeout=0),
            ):
                # Between the look and the lock its process may have ended it and let go.
                if self.study.get_trials(deepcopy=False)[trial.number].state == self._state("RUNNING"):
                    self._retry(trial, trial.user_attrs.get("attempt", 1) + 1)

    def _retry(self, trial: Any, attempt: int) -> None:
        again = {other.user_attrs.get("again") for other in self.study.get_trials(deepcopy=False)}
        if trial.number not in again and attempt <= ATTEMPTS:
            place = trial.user_attrs.get("place", trial.number)  # where its checkpoint lies
            note = {"again": trial.number, "place": place, "attempt": attempt}
            self.study.enqueue_trial(trial.params, user_attrs=note)
        self.study.tell(trial.number, state=self._state("FAIL"))

    def _run(self, trial: Any) -> None:
        """Run one trial and tell the study what became of it."""
        place = self.folder / "trials" / f"{trial.user_attrs.get('place', trial.number):04d}"
        try:
            task = self.task(suggest(trial, self.space))
            task.check()
            record = task.run(place, resume=True, quiet=True, watch=self._watch(trial, task.epochs))
        except (KeyboardInterrupt, DataError, RecordError):  # no data, no room: the search stops, not the trial
            self._retry(trial, trial.user_attrs.get("attempt", 1))
            raise
        except (ValueError, RuntimeError) as error:  # an invalid config, or memory that does not suffice
            _keep_record(place)
            self._end(trial, "FAIL", f"invalid: {error}" if isinstance(error, ValueError) else str(error))
            return
        _keep_record(place)
        trial.set_user_attr("run", {name: fact(record, name) for name in FACTS})
        values = [fact(record, objective) for objective in self.objectives]
        if record.status == "diverged":
            self._end(trial, "FAIL", str(record.message))
        elif record.status == "interrupted":
            self._end(trial, "PRUNED", str(record.message))
        elif None in values:
            self._end(trial, "FAIL", f"the run has no finite {self.objectives[values.index(None)]}")
        else:
            self.study.tell(trial, values)

    def _end(self, trial: Any, state: str, reason: str) -> None:
        trial.set_user_attr("reason", reason.split("\n")[0])
        self.study.tell(trial, state=self._state(state))

    def _watch(self, trial: Any, epochs: int) -> Callable[[Record], str | None] | None:
        """Return what reports a trial after every epoch and says when to give it up."""
        objective, reported = self.objectives[0], set()
        if len(self.objectives) > 1 or objective in FACTS:  # Optuna prunes for one objective only
            return None

        def watch(record: Record) -> str | None:
            for entry in record.history:  # a trial that goes on from a checkpoint has epochs of its first life
                if entry["epoch"] > 0 and entry["epoch"] not in reported:
                    trial.report(entry["valid"][objective], entry["epoch"])
                    reported.add(entry["epoch"])
            now = record.history[-1]["epoch"]
            stops = now < epochs and trial.should_prune()
            return f"pruned after epoch {now}: held-out {objective} behind that of other trials" if stops else None

        return watch

    def _state(self, name: str) -> Any:
        return self.library.trial.TrialState[name]

    def _lock(self, name: str) -> Any:
        import filelock

        return filelock.FileLock(str(self.folder / name))


def fact(record: Record, objective: str) -> float | None:
    """Return what a run has of an objective, held-out figures at the selected epoch; None where it is not finite."""
    if objective == "seconds":
        value = record.seconds.get("train")
    elif objective in FACTS:
        value = getattr(record, objective)
    else:
        value = next((e["valid"][objective] for e in record.history if e["epoch"] == record.selected_epoch), None)
    return float(value) if value is not None and math.isfinite(value) else None


def _keep_record(place: Path) -> None:
    """Keep of the folder of a trial its record alone, under a name by which nobody takes it for a run of its own."""
    if (place / "record.json").exists():
        (place / "record.json").replace(place.with_suffix(".json"))
    shutil.rmtree(place, ignore_errors=True)
