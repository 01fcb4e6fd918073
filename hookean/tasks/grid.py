"""Many runs: seeds and grids, one record per cell, resumable."""

import collections
import functools
import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from ..record import Record
from .build import ConfigError
from .config import configure, nested
from .contract import AbstractTask, require_fresh
from .sections import merge, on_default

#: Runs whose compiled programs are kept: those of all runs would fill the memory of a long study.
KEPT = 15


def seeds(task: type[AbstractTask], values: dict[str, Any], number: int) -> list[AbstractTask]:
    """Return one config per seed, counted from the seed that `values` name (default 0)."""
    first = configure(task, values).seed
    return [configure(task, values | {"seed": first + i}) for i in range(number)]


def grid(
    task: type[AbstractTask], values: dict[str, Any], axes: Mapping[str, Sequence[Any]], number: int
) -> list[AbstractTask]:
    """Return one config for every combination of the axes and every seed.

    Arguments:
        axes: option -> its values, such as {"dataset": ["mnist"], "network.depth": [8, 16]}.
    """
    return [config for point in _points(axes) for config in seeds(task, at(values, point), number)]


def study(
    task: type[AbstractTask], values: Mapping[str, Any], changes: Mapping[str, Any], number: int
) -> list[AbstractTask]:
    """Return the configs of a preset, one for every variant, every combination of its axes and every seed.

    Arguments:
        values: options of the task, and of the study `axes`, which has a list of values in the place of each option's
            value, and `variants`, a list of options that stand on top of what all runs share.
        changes: options that stand on top of everything, `axes` and `variants` among them; an option that is given here
            is an axis no more.

    Raises:
        ConfigError: if axes or variants are no such table, or an option is wrong.
    """
    whole = merge(values, changes)
    axes, variants = _flat(whole.pop("axes", {}), ""), whole.pop("variants", [{}])
    if not (isinstance(variants, list) and variants and all(isinstance(variant, Mapping) for variant in variants)):
        raise ConfigError(f"variants must be a list of tables of options, got {variants!r}.")
    last = {key: value for key, value in changes.items() if key not in ("axes", "variants")}
    free = {option: of for option, of in axes.items() if not _given(option, last)}
    runs = [(point, merge(merge(at(whole, point), variant), last)) for point in _points(free) for variant in variants]
    configs = [config for _, run in runs for config in seeds(task, run, number)]
    if len({config.cell() for config in configs}) < len(configs):  # the axes must tell the runs apart
        configs = [config for point, run in runs for config in seeds(task, _labelled(task, run, point), number)]
    return configs


def _given(option: str, options: Any) -> bool:
    """Say whether a table of options has this one, whose name is a path with dots."""
    for name in option.split("."):
        if not (isinstance(options, Mapping) and name in options):
            return False
        options = options[name]
    return True


def _flat(axes: Any, option: str) -> dict[str, list[Any]]:
    """Return option -> values of a table whose leaves are lists."""
    if isinstance(axes, list) and axes and option:
        return {option: axes}
    if not isinstance(axes, Mapping):
        name = f"axes.{option}" if option else "axes"
        raise ConfigError(f"{name} must be a list of values, or a table of options that have lists, got {axes!r}.")
    flat: dict[str, list[Any]] = {}
    for name, of in axes.items():
        flat |= _flat(of, f"{option}.{name}" if option else name)
    return flat


def _points(axes: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Return every combination of the axes as option -> value."""
    return [dict(zip(axes, choice, strict=True)) for choice in itertools.product(*axes.values())]


def at(values: Mapping[str, Any], point: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options at a point of the axes, given as option -> value."""
    return functools.reduce(merge, (nested(option, value) for option, value in point.items()), dict(values))


def _labelled(task: type[AbstractTask], run: Mapping[str, Any], point: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options with the point of the axes in the label."""
    default = task.model_fields["algorithm"].default if "algorithm" in task.model_fields else {"name": task.name}
    label = run.get("label") or on_default(default, run.get("algorithm", default))["name"]
    names = {option: option.rpartition(".")[2] for option in point}
    short = collections.Counter(names.values())
    places = [f"{names[o] if short[names[o]] == 1 else o} {value}" for o, value in point.items()]
    return dict(run) | {"label": ", ".join([str(label), *places])}


def run_all(configs: Iterable[AbstractTask], out: Path, *, resume: bool, quiet: bool) -> list[Record]:
    """Run every config into its own folder below `out` and return the records, diverged ones among them.

    All configs are checked before the first one runs, so that a wrong name does not wait for hours to be said.
    """
    cells = [(config, out.joinpath(*config.cell())) for config in configs]
    twice = [folder for folder, count in collections.Counter(folder for _, folder in cells).items() if count > 1]
    if twice:
        raise ConfigError(f"several runs would write into {twice[0]}. Give each of them a label of its own.")
    for config, folder in cells:
        config.check()
        if not resume:
            require_fresh(folder)
    records = []
    for number, (config, folder) in enumerate(cells, 1):
        records.append(config.run(folder, resume=resume, quiet=quiet))
        if number % KEPT == 0:
            jax.clear_caches()
    return records
