"""Configs from presets and from the command line: overriding, checking."""

import tomllib
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pydantic

from ..registry import nearest
from .build import NONE, ConfigError
from .contract import AbstractTask
from .sections import merge

T = TypeVar("T", bound=AbstractTask)


def configure(task: type[T], values: Mapping[str, Any]) -> T:
    """Return the validated config of a task; "none" stands for None where that is allowed and is no word of the option.

    Raises:
        ConfigError: naming the first wrong key, what it must be and what it got.
    """
    try:
        return task(**_with_none(task, values))
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in first["loc"] if part not in ("int", "float"))
        if first["type"] == "extra_forbidden":
            known = _keys(task, first["loc"][:-1])
            raise ConfigError(f"'{path}' is not an option of {task.name}. {nearest(path, known)}") from error
        raise ConfigError(f"{path}: {first['msg']}, got {first['input']!r}.") from error


def _with_none(model: type[pydantic.BaseModel], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values with None where an option may be None and the value says so in words."""
    found = dict(values)
    for name, value in found.items():
        annotation = model.model_fields[name].annotation if name in model.model_fields else None
        kinds = typing.get_args(annotation)
        words = [word for kind in kinds for word in typing.get_args(kind)]  # of a Literal
        if value == NONE and type(None) in kinds and NONE not in words:
            found[name] = None
        elif isinstance(value, Mapping) and isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
            found[name] = _with_none(annotation, value)
    return found


def _keys(task: type[pydantic.BaseModel], path: tuple[Any, ...]) -> list[str]:
    """Return the option names of the section at `path`, written out from the top."""
    model, prefix = task, ""
    for part in path:
        model = model.model_fields[str(part)].annotation  # type: ignore[assignment]
        prefix += f"{part}."
    return [prefix + name for name in model.model_fields]


def read_preset(path: Path) -> dict[str, Any]:
    """Return the values of a TOML preset.

    Raises:
        ConfigError: if the file is missing or is not TOML.
    """
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"the preset {path} cannot be read: {error.strerror}.") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"the preset {path} is not valid TOML: {error}.") from error


def parse_overrides(pairs: Iterable[str]) -> dict[str, Any]:
    """Turn `a.b=value` pairs into nested values; a value is read as TOML, and as a string where it is none.

    Raises:
        ConfigError: if a pair has no '='.
    """
    values: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--set takes key=value, got '{pair}'.")
        values = merge(values, nested(key.strip(), _parse(text.strip())))
    return values


def nested(option: str, value: Any) -> dict[str, Any]:
    """Return the value under its option, as a section in a section for every dot: `a.b` gives {"a": {"b": value}}."""
    section, dot, rest = option.partition(".")
    return {section: nested(rest, value) if dot else value}


def _parse(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
