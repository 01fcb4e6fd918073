"""The frame of every experiment that is no plain classification: folder, record, resuming, failures, progress."""

import abc
import contextlib
import dataclasses
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import jax
import numpy as np
import pydantic

from ..record import Record, environment, write_arrays, write_record, write_text
from .contract import AbstractTask, config_text, finished, folder_name, now
from .progress import Bar
from .train import Diverged


@dataclasses.dataclass
class Stage:
    """Where an experiment runs: what it may write to and what it shows while it works.

    Attributes:
        folder: the run's folder, for checkpoints.
        record: what the experiment fills.
        resume: whether checkpoints that lie in the folder are to be used.
        quiet: show no progress.
    """

    folder: Path
    record: Record
    resume: bool
    quiet: bool
    arrays: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    began: float = dataclasses.field(default_factory=time.perf_counter)

    @property
    def title(self) -> str:
        """What the run is called."""
        record = self.record
        return f"{record.label} on {record.dataset}, {record.network}, seed {record.seed}"

    def progress(self, title: str, total: int) -> Bar:
        """Return a bar over the pieces of one part; use it in a `with` statement and call its `advance`."""
        return Bar(f"{self.title}, {title}", total, quiet=self.quiet)

    @contextlib.contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Add the seconds of the block to `record.seconds[part]`."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.record.seconds[part] = self.record.seconds.get(part, 0.0) + time.perf_counter() - began

    def keep_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Write arrays beside the record, with those that were kept before."""
        self.arrays |= arrays
        write_arrays(self.folder, self.arrays)

    def seconds(self) -> dict[str, float]:
        """Return the seconds of every part, and of the run so far as `total`."""
        return self.record.seconds | {"total": time.perf_counter() - self.began}

    def go_on(self, seconds: Mapping[str, float]) -> None:
        """Count on from the seconds that a checkpoint holds, if it does."""
        self.record.seconds |= seconds
        if "total" in seconds:
            self.began = time.perf_counter() - seconds["total"]

    def write(self) -> None:
        """Write the record as it stands."""
        self.record.seconds = self.seconds()
        write_record(self.folder, self.record)

    def diverged(self, message: str) -> NoReturn:
        """End the run as diverged; the message says where and what to change."""
        raise Diverged(message)


class AbstractExperiment(AbstractTask, frozen=True):
    """A task that says what it measures; folder, record, resuming and failures are the same for all of them.

    Attributes:
        label: what tables call the run (default: chosen by the experiment).
        double_precision: compute in float64 (default false).
        download: allow the data set to be fetched from the public hub.
    """

    label: str | None = None
    double_precision: bool = False
    download: bool = False
    seed: int = pydantic.Field(default=0, ge=0)

    @abc.abstractmethod
    def names(self) -> dict[str, str]:
        """Return what tables call the run: `label`, `algorithm`, `network`, `dataset`."""

    @abc.abstractmethod
    def measure(self, stage: Stage) -> None:
        """Do the experiment and fill `stage.record`: `test`, `shown`, `charts`, `images`, `history` and so on."""

    def resolved(self) -> dict[str, Any]:
        """Return the config with every default written out, as the record holds it."""
        return self.model_dump() | {"task": self.name}

    def cell(self) -> tuple[str, ...]:
        names = self.names()
        places = (names["dataset"], names["network"], names["label"])
        return (*map(folder_name, places), f"seed-{self.seed}")

    def run(self, folder: Path, *, resume: bool = False, quiet: bool = False) -> Record:
        if not self.double_precision:
            return self._run(folder, resume, quiet)
        with jax.enable_x64(True):
            return self._run(folder, resume, quiet)

    def _run(self, folder: Path, resume: bool, quiet: bool) -> Record:
        self.check()
        resolved, names = self.resolved(), self.names()
        options = self.model_dump(exclude_unset=True)
        earlier = finished(
            folder, options, lambda o: type(self)(**o).resolved(), resume=resume, free=frozenset(self.may_change)
        )
        if earlier is not None:
            return earlier
        record = Record(
            task=self.name,
            label=names["label"],
            algorithm=names["algorithm"],
            network=names["network"],
            dataset=names["dataset"],
            seed=self.seed,
            config=resolved,
            environment=environment(),
            started=now(),
        )
        stage = Stage(folder, record, resume, quiet)
        begun = (folder / "record.json").exists()
        if not begun:  # a run that is killed is known by its record
            stage.write()
        write_text(folder / "config.toml", config_text(type(self), resolved))
        try:
            self.measure(stage)
            record.status, record.finished = "finished", now()
        except Diverged as error:
            record.status, record.message = "diverged", str(error)
        except KeyboardInterrupt:
            record.status = "interrupted"
            record.message = "Stopped by the user. Run the same command with --resume to go on."
            stage.write()
            raise
        except Exception:
            if record.history:
                stage.write()
            elif not begun:  # nothing was measured
                (folder / "record.json").unlink()
                (folder / "config.toml").unlink()
            raise
        stage.write()
        return record
