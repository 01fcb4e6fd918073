"""The trials of a search as a table, best first."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .table import Table

#: Trials that a table shows; the file has all of them.
MOST = 10


def trials_table(folder: Path) -> Table:
    """Return the best trials of the search in a folder, those marked * first, which no other trial beats.

    Raises:
        ValueError: if there is no readable table of trials.
    """
    path = folder / "trials.json"
    try:
        found = json.loads(path.read_text())
        objectives, best, trials = found["objectives"], found["best"], found["trials"]
    except (OSError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is not a readable table of trials ({error}).") from error
    ended = [trial for trial in trials if trial["state"] == "complete"]
    first, direction = next(iter(objectives.items()))
    sign = -1 if direction == "maximize" else 1
    ended.sort(key=lambda trial: (trial["number"] not in best, sign * trial["values"][first]))
    shown = ended[:MOST]
    options = list(dict.fromkeys(option for trial in shown for option in trial["options"]))
    rows = [
        [*_start(trial, best), *(_text(trial["options"].get(option, "-")) for option in options), *_run(trial)]
        for trial in shown
    ]
    left_out = [f"trial {trial['number']}: {trial['reason']}" for trial in trials if trial["state"] == "fail"]
    caption = (
        f"{len(ended)} of {len(trials)} trials came to an end, the best first; no other trial beats those marked *. "
        "Figures of held-out samples; the test split was left alone."
    )
    caption += "".join(f"\nFailed: {line}" for line in left_out[:MOST])
    header = ["trial", *objectives, *options, "parameters", "s"]
    return Table(caption, header, rows, [False] + [True] * (len(header) - 1))


def _start(trial: Mapping[str, Any], best: list[int]) -> list[str]:
    mark = " *" if trial["number"] in best else ""
    return [f"{trial['number']}{mark}", *map(_text, trial["values"].values())]


def _run(trial: Mapping[str, Any]) -> list[str]:
    return [f"{trial['run']['parameters']:.0f}", f"{trial['run']['seconds']:.1f}"]


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
