"""The contract of a task: a frozen, validated config that runs into a folder and leaves a record."""

import abc
from pathlib import Path
from typing import ClassVar

import pydantic

from ..record import Record
from .build import ConfigError


def require_fresh(folder: Path) -> None:
    """Raise ConfigError if the folder holds a run, which a new one would overwrite."""
    if (folder / "record.json").exists():
        raise ConfigError(f"{folder} holds a run already. Add --resume to go on with it, or choose another --out.")


class AbstractTask(pydantic.BaseModel, abc.ABC, frozen=True, extra="forbid"):
    """The config of one run. The same config comes from Python, from a preset and from the command line.

    Facts: `name`, under which the command line finds the task.
    """

    name: ClassVar[str]
    seed: int = pydantic.Field(default=0, ge=0)

    @abc.abstractmethod
    def cell(self) -> tuple[str, ...]:
        """Return the folders, from coarse to fine, that tell this run from others of the same task."""

    def check(self) -> None:
        """Raise ValueError on what can be known to be wrong without data; asked of all runs before the first starts."""

    @abc.abstractmethod
    def run(self, folder: Path, *, resume: bool = False, quiet: bool = False) -> Record:
        """Run into `folder` and return the record.

        Arguments:
            resume: return a finished run as it is, and go on with a killed one.
            quiet: show no progress.
        """
