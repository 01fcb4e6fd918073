"""The space of a search: options by their dotted paths, each with a range or a list of choices."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..registry import nearest
from .build import ConfigError

#: What stands in the section of an option; a list stands for its choices alone.
WORDS = ("low", "high", "log", "step", "choices", "when")


@dataclasses.dataclass(frozen=True)
class Dimension:
    """An option that differs between trials.

    Attributes:
        path: the option, with a dot for every section, as in `algorithm.steps`.
        choices: its values, of any kind; empty where it has a range.
        low, high: ends of the range, both included; whole numbers give whole numbers.
        log: draw evenly over the logarithm.
        step: distance between the values of a range.
        when: other options of the space -> the values at which this one is set at all.
    """

    path: str
    choices: Sequence[Any] = ()
    low: int | float = 0
    high: int | float = 0
    log: bool = False
    step: int | float | None = None
    when: Mapping[str, Sequence[Any]] = dataclasses.field(default_factory=dict)

    @property
    def whole(self) -> bool:
        """Whether the range is one of whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def ends(self) -> list[Any]:
        """The values to try a config with: all choices, or the ends of the range."""
        return list(self.choices) or [self.low, self.high]

    def set(self, point: Mapping[str, Any]) -> bool:
        """Say whether the option is set where the earlier ones are as in `point`."""
        return all(path in point and point[path] in values for path, values in self.when.items())

    def suggest(self, trial: Any) -> Any:
        """Return the value that an Optuna trial has for the option."""
        if self.choices:
            return self.value(trial.suggest_categorical(self.path, list(dict.fromkeys(map(stored, self.choices)))))
        if self.whole:
            return trial.suggest_int(self.path, self.low, self.high, log=self.log, step=self.step or 1)
        return trial.suggest_float(self.path, self.low, self.high, log=self.log, step=self.step)

    def value(self, name: Any) -> Any:
        """Return the value that stands under a name in the storage, which holds lists and tables as text."""
        return next((choice for choice in self.choices if stored(choice) == name), name)


def stored(value: Any) -> Any:
    """Return a choice as the storage and tables hold it: a word, a number or a switch as it is, others as text."""
    return value if isinstance(value, str | int | float | bool) else json.dumps(value)


def suggest(trial: Any, space: Sequence[Dimension]) -> dict[str, Any]:
    """Return option -> value of an Optuna trial, without the options that its other values rule out."""
    point: dict[str, Any] = {}
    for dimension in space:
        if dimension.set(point):
            point[dimension.path] = dimension.suggest(trial)
    return point


def read_space(table: Mapping[str, Any]) -> list[Dimension]:
    """Return the dimensions of a table: keys may be nested or have dots, leaves are lists or sections of `WORDS`.

    Raises:
        ConfigError: on a range without values, an unknown word or a condition on nothing.
    """
    space: list[Dimension] = []
    for path, leaf in _leaves(table, "").items():
        space.append(_dimension(path, leaf, [earlier.path for earlier in space]))
    if not space:
        raise ConfigError("space must name at least one option, as in algorithm.steps = { low = 2, high = 16 }.")
    return space


def _leaves(table: Any, path: str) -> dict[str, Any]:
    if isinstance(table, list):
        return {path: {"choices": table}}
    if not isinstance(table, Mapping):
        raise ConfigError(f"space.{path} must be a list of choices or a section with low and high, got {table!r}.")
    if (path and not table) or any(word in table for word in ("low", "high", "choices")):
        return {path: dict(table)}
    leaves: dict[str, Any] = {}
    for key, of in table.items():
        leaves |= _leaves(of, f"{path}.{key}" if path else key)
    return leaves


def _dimension(path: str, leaf: Mapping[str, Any], earlier: Sequence[str]) -> Dimension:
    where = f"space.{path}"
    for word in leaf:
        if word not in WORDS:
            raise ConfigError(f"{where} has no option '{word}'. {nearest(word, WORDS)}")
    conditions = {key: value if isinstance(value, list) else [value] for key, value in leaf.get("when", {}).items()}
    for other in conditions:
        if other not in earlier:
            raise ConfigError(f"{where}.when must name an option that stands above it. {nearest(other, earlier)}")
    if "choices" in leaf:
        choices = leaf["choices"]
        if not isinstance(choices, list) or not choices or set(leaf) - {"choices", "when"}:
            raise ConfigError(f"{where} must be a list with at least one value, or have low and high; got {leaf!r}.")
        return Dimension(path, choices, when=conditions)
    return _range(path, {"low": None, "high": None, **leaf, "when": conditions})


def _range(path: str, given: dict[str, Any]) -> Dimension:
    where, low, high = f"space.{path}", given["low"], given["high"]
    step, log = given.get("step"), given.get("log", False)
    if not (_number(low) and _number(high) and low < high):
        raise ConfigError(f"{where}: low must be a number below high, got low {low!r} and high {high!r}.")
    if not isinstance(log, bool) or (log and low <= 0):
        raise ConfigError(f"{where}: log is true or false and needs a positive low, got log {log!r} and low {low!r}.")
    if step is not None and not (_number(step) and 0 < step <= high - low and not log):
        raise ConfigError(f"{where}: step must lie in (0, {high - low}], without log, got {step!r}.")
    if step is not None and isinstance(low, int) and isinstance(high, int) and not isinstance(step, int):
        raise ConfigError(
            f"{where}: a range of whole numbers needs a whole step, got {step!r}; write {float(low)} for other numbers."
        )
    return Dimension(path, **given)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
