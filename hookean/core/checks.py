"""Checks of what a person sets; each raises ValueError with what the option must be and what it got."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from ..registry import nearest


def at_least(name: str, value: int, least: int) -> None:
    """Raise unless `value` is at least `least`."""
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}.")


def positive(name: str, value: Any) -> None:
    """Raise unless `value` is a positive finite number; an array may be traced and is left alone."""
    if isinstance(value, int | float) and not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be a positive number, got {value}.")


def known(option: str, given: Iterable[str], names: Iterable[str]) -> None:
    """Raise unless every name that an option gives is one of `names`; the message has the nearest."""
    among = frozenset(names)
    for name in given:
        if name not in among:
            raise ValueError(f"{option} names '{name}', which is unknown. {nearest(name, among)}")


def one_each(name: str, value: float | Sequence[float], count: int) -> tuple[float, ...]:
    """Return one number for each of `count`: the same for all, or those of a sequence of this length.

    Raises:
        ValueError: if a sequence has another length.
    """
    if isinstance(value, int | float):
        return (float(value),) * count
    if len(value) != count:
        raise ValueError(f"{name} must be a number or {count} numbers, from the input to the output, got {len(value)}.")
    return tuple(float(each) for each in value)


def widths(name: str, values: Sequence[int]) -> None:
    """Raise unless every number of units is at least 1."""
    if any(value < 1 for value in values):
        raise ValueError(f"every entry of {name} must be at least 1, got {list(values)}.")
