"""What a room exports is what is registered: name lookup over the final classes and functions of a module."""

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import TypeVar

T = TypeVar("T")


#: Names that a message lists at the most.
MOST = 16


class UnknownName(ValueError):
    """A name that nothing is registered under; the message names the nearest match."""

    def __str__(self) -> str:
        return str(self.args[0])


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which known name is closest to `name`, as a half sentence that ends an error message."""
    names = sorted(known)
    shown = ", ".join(names[:MOST]) + (f" and {len(names) - MOST} more" if len(names) > MOST else "")
    close = difflib.get_close_matches(name.lower(), [n.lower() for n in names], n=1, cutoff=0.5)
    hint = next((f"Did you mean '{n}'? " for n in names if close and n.lower() == close[0]), "")
    return f"{hint}Known: {shown or 'none'}."


def exported_classes(room: ModuleType, base: type[T]) -> dict[str, type[T]]:
    """Return the final subclasses of `base` that `room` exports, by class name, in order of export."""
    return {
        name: member
        for name, member in vars(room).items()
        if inspect.isclass(member) and issubclass(member, base) and not inspect.isabstract(member)
        if not name.startswith("_") and member is not base
    }


def exported_functions(room: ModuleType) -> dict[str, Callable]:
    """Return the public functions that `room` exports, by name, in order of export."""
    return {
        name: member for name, member in vars(room).items() if inspect.isfunction(member) and not name.startswith("_")
    }


def find(name: str, members: Mapping[str, T], kind: str) -> T:
    """Return `members[name]`, ignoring case, underscores and hyphens.

    Raises:
        UnknownName: if nothing has that name; says which `kind` was asked for and the nearest match.
    """
    by_folded = {_folded(known): member for known, member in members.items()}
    if _folded(name) in by_folded:
        return by_folded[_folded(name)]
    raise UnknownName(f"There is no {kind} called '{name}'. {nearest(name, members)}")


def _folded(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


def summary(member: object) -> str:
    """Return the first line of the docstring of `member`, which is its entry in lists and pages."""
    return (inspect.getdoc(member) or "").strip().split("\n")[0]
