"""Many runs: seeds and grids, one record per cell, resumable."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..record import Record
from .config import configure, merge
from .contract import AbstractTask, require_fresh


def seeds(task: type[AbstractTask], values: dict[str, Any], number: int) -> list[AbstractTask]:
    """Return one config per seed, counted from the seed that `values` name (default 0)."""
    first = configure(task, values).seed
    return [configure(task, values | {"seed": first + i}) for i in range(number)]


def grid(
    task: type[AbstractTask], values: dict[str, Any], axes: Mapping[str, Sequence[str]], number: int
) -> list[AbstractTask]:
    """Return one config for every combination of the axes and every seed.

    Arguments:
        axes: option -> names, such as {"dataset": ["mnist"], "algorithm": ["PC", "BP"]}.
    """
    combinations = [values]
    for option, names in axes.items():
        combinations = [merge(base, {option: name}) for base in combinations for name in names]
    return [config for combination in combinations for config in seeds(task, combination, number)]


def run_all(configs: Iterable[AbstractTask], out: Path, *, resume: bool, quiet: bool) -> list[Record]:
    """Run every config into its own folder below `out` and return the records, diverged ones among them.

    All configs are checked before the first one runs, so that a wrong name does not wait for hours to be said.
    """
    cells = [(config, out.joinpath(*config.cell())) for config in configs]
    for config, folder in cells:
        config.check()
        if not resume:
            require_fresh(folder)
    return [config.run(folder, resume=resume, quiet=quiet) for config, folder in cells]
