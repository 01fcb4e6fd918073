"""The contract of a task: a frozen, validated config that runs into a folder and leaves a record."""

import abc
import datetime
import json
from collections.abc import Callable, Mapping, Set
from pathlib import Path
from typing import Any, ClassVar

import pydantic
import tomli_w

from ..record import Record, read_record
from .build import NONE, ConfigError
from .sections import on_default


def folder_name(name: str) -> str:
    """Return a name as that of one folder: no separator, and none that stands for a folder above."""
    plain = name.replace("/", "-").replace("\\", "-")
    return plain if plain.strip(".") else "-" * len(plain)


def require_fresh(folder: Path) -> None:
    """Raise ConfigError if the folder holds a run, which a new one would overwrite."""
    if (folder / "record.json").exists():
        raise ConfigError(f"{folder} holds a run already. Add --resume to go on with it, or choose another --out.")


def finished(
    folder: Path,
    options: Mapping[str, Any],
    resolve: Callable[[dict[str, Any]], dict[str, Any]],
    *,
    resume: bool,
    free: Set[str] = frozenset(),
) -> Record | None:
    """Return the record in the folder if it is that of this config and finished; None if there is something to run.

    Arguments:
        options: the config of the task, without what is left to its defaults.
        resolve: such options -> the config with every default written out.
        free: options that may have other values when a run goes on.

    Raises:
        ConfigError: if the folder holds a run and nobody asked to resume it, or one of another config.
    """
    if not resume:
        require_fresh(folder)
    elif (folder / "record.json").exists():
        earlier, resolved = read_record(folder / "record.json"), resolve(dict(options))
        if _same(earlier.config, resolved) or _same_before(earlier.config, resolved, options, resolve):
            return earlier if earlier.status == "finished" else None
        if not _same(_without(earlier.config, free), _without(resolved, free)):
            raise ConfigError(
                f"{folder} holds a run made with another configuration ({_difference(earlier.config, resolved)}). "
                "Choose another --out, or delete the folder."
            )
    return None


def _same_before(
    stored: dict[str, Any],
    resolved: dict[str, Any],
    options: Mapping[str, Any],
    resolve: Callable[[dict[str, Any]], dict[str, Any]],
) -> bool:
    """Say whether a record from before some options existed is that of a config in which they have their defaults."""
    later = _flat(resolved).keys() - _flat(stored).keys()
    try:
        by_default = resolve(_without(dict(options), later))
    except ValueError:  # an option that has no default
        return False
    return _same(by_default, resolved) and _same(stored, _without(resolved, later))


def _difference(stored: dict[str, Any], resolved: dict[str, Any]) -> str:
    """Name up to three options whose values differ."""
    there, here = (_flat(json.loads(json.dumps(_given(values)))) for values in (stored, resolved))
    names = [n for n in sorted(there.keys() | here.keys()) if n != "download" and there.get(n) != here.get(n)]
    shown = [f"{n} is {there.get(n, 'not set')} there and {here.get(n, 'not set')} here" for n in names[:3]]
    return ", ".join(shown) + (f", and {len(names) - 3} more" if len(names) > 3 else "")


def _without(values: dict[str, Any], left_out: Set[str], path: str = "") -> dict[str, Any]:
    """Return the options but for those at some paths."""
    kept = {key: value for key, value in values.items() if path + key not in left_out}
    return {k: _without(v, left_out, f"{path}{k}.") if isinstance(v, dict) else v for k, v in kept.items()}


def _flat(values: dict[str, Any], path: str = "") -> dict[str, Any]:
    """Return path of an option -> value."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= _flat(value, f"{path}{key}.") if isinstance(value, dict) else {path + key: value}
    return found


def require_same(path: Path, stored: dict[str, Any], resolved: dict[str, Any]) -> None:
    """Raise ConfigError if the resolved config stored in a checkpoint does not lead to the same run as this one."""
    if not _same(stored, resolved):
        raise ConfigError(f"{path} was made with another configuration (see config.toml beside it).")


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Say whether two resolved configs lead to the same run.

    Where the data came from makes no difference, nor whether an option that is None is named: a record from before the
    option existed has none.
    """
    plain = (_given({key: value for key, value in values.items() if key != "download"}) for values in (one, other))
    return len({json.dumps(values, sort_keys=True) for values in plain}) == 1


def _given(values: Any) -> Any:
    if not isinstance(values, dict):
        return values
    return {key: _given(value) for key, value in values.items() if value is not None}


def without_none(values: Any) -> Any:
    """Return nested plain values without None, which TOML cannot hold: options of a member say "none" instead."""
    if not isinstance(values, dict):
        return values
    member = "name" in values
    kept = {key: NONE if value is None and member else without_none(value) for key, value in values.items()}
    return {key: value for key, value in kept.items() if value is not None}


def config_text(task: type[pydantic.BaseModel], resolved: dict[str, Any]) -> str:
    """Return the resolved config of a task as the TOML that runs it again.

    An option that is None, and would not be if it were left out, says "none".
    """
    otherwise = {key for key, field in task.model_fields.items() if field.default is not None}
    said = {key: NONE if value is None and key in otherwise else value for key, value in resolved.items()}
    return tomli_w.dumps(without_none(said))


def now() -> str:
    """Return the time in UTC, as records hold it."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


class AbstractTask(pydantic.BaseModel, abc.ABC, frozen=True, extra="forbid"):
    """The config of one run. The same config comes from Python, from a preset and from the command line.

    Where the default of an option is a section with a name, a name alone is a section, and options without a name
    change the default's.

    Facts: `name`, under which the command line finds the task; `smoke`, the options of a version that takes seconds;
    `may_change`, the options that may have other values when a run goes on.
    """

    name: ClassVar[str]
    smoke: ClassVar[Mapping[str, Any]] = {}
    may_change: ClassVar[tuple[str, ...]] = ()
    seed: int = pydantic.Field(default=0, ge=0)

    @pydantic.field_validator("*", mode="before")
    @classmethod
    def _named(cls, value: Any, info: Any) -> Any:
        return on_default(cls.model_fields[str(info.field_name)].default, value)

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
