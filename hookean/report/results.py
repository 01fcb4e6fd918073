"""The page of results: our figures beside the published ones, generated from the record files."""

import dataclasses
import statistics
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..record import Record, find_records
from .statistics import mean_interval
from .table import (
    Table,
    accuracies,
    cells,
    demanded,
    demands,
    interval,
    measured,
    paired_table,
    percent,
    spread,
    without,
)

INTRODUCTION = """# Results

This page is generated from the record files below `results/` by `hookean results`; each of them holds the exact
config, environment and history of one run.

**Our protocol.** A part of the training split is held out, the same for every seed. The network of the epoch with the
best held-out accuracy is tested, once, on the whole test split. No seed is left out: runs without
an accuracy are counted in the column of seeds. The spread is the standard deviation over seeds, the interval that of
the mean by Student's t.

**The published protocol** (Pinchetti et al., 2025) trains on the whole training split, takes the best epoch on the test
split and drops the two lowest of seven seeds. Its figures are therefore a little high beside ours. Those marked
"unverified" have no source that could be checked and are no target; "tuning" marks the best single tuning trial of the
authors, chosen on test data.
"""


#: Parts of the path of a record below `results/`: task, data set, network, label, seed, file.
PLACES = 6
EXPERIMENTS = """Every table is a folder below `results/`, mostly of a preset of the same name; `config.toml` beside
each record is the exact protocol. Selection is on held-out samples of the training split; the test
split is used once."""

#: Layers whose cosines are listed one by one.
MOST = 8


@dataclasses.dataclass(frozen=True)
class Published:
    """A figure from the literature: accuracy as a fraction or the value of another measure, over so many epochs."""

    dataset: str
    network: str
    label: str
    value: float
    source: str
    verified: bool
    spread: float | None = None
    epochs: int | None = None
    task: str = "classification"
    measure: str = "accuracy"

    def text(self) -> str:
        """Return the figure with its mark, accuracies in percent."""
        mark = "" if self.verified else " (unverified)"
        if self.measure != "accuracy":
            return f"{self.value:.4g}" + ("" if self.spread is None else f" ± {self.spread:.2g}") + mark
        spread = "" if self.spread is None else f" ± {100 * self.spread:.2f}"
        tuning = " (tuning)" if "tuning" in self.source else ""
        return f"{100 * self.value:.2f}{spread}{mark}{tuning}"


def read_published(path: Path) -> list[Published]:
    """Read published figures from a TOML file.

    Raises:
        ValueError: if the file is missing or an entry lacks a field.
    """
    try:
        entries = tomllib.loads(path.read_text())["figure"]
        return [Published(**entry) for entry in entries]
    except (OSError, KeyError, TypeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{path} must hold published figures as [[figure]] entries: {error}.") from error


def results_page(records: Path, published: Path | None, missing: Mapping[str, str] | None = None) -> str:
    """Return the page in Markdown. The same files give the same text.

    Arguments:
        records: folder with record files at any depth.
        published: TOML file of published figures; None leaves them out.
        missing: part of a suite -> why it has no runs.

    Raises:
        ValueError: if the folder is that of a single run, or the file of published figures cannot be read.
    """
    everything = find_records(records)
    if any(path.parent == records for path, _ in everything):
        raise ValueError(f"{records} is the folder of one run: the page needs one that holds runs as TASK/NAME/... do.")
    placed = [(path.relative_to(records).parts, r) for path, r in everything if r.task == "classification"]
    known = [] if published is None else read_published(published)
    figures = [figure for figure in known if figure.task == "classification"]
    full = [r for _, r in placed if not _reduced(r, figures)]
    # Reduced runs in a folder of their own below the task are a study: another one may have runs of the same names.
    apart = [(parts[1], r) for parts, r in placed if len(parts) > PLACES and _reduced(r, figures)]
    reduced = [r for parts, r in placed if len(parts) <= PLACES and _reduced(r, figures)]
    parts = [INTRODUCTION, "## Classification", _beside(full, figures).markdown()]
    if reduced:
        parts += ["## Reduced runs", "Fewer epochs, samples or channels than published, as the protocol column says."]
        parts += [_beside(reduced, []).markdown()]
    pairs = paired_table(full)
    if pairs is not None:
        parts += ["## Paired differences", pairs.markdown()]
    parts += ["## Evidence", _evidence(full, reduced).markdown(), "## Not run", _missing(full, figures)]
    studies: dict[str, list[Record]] = {}
    apart += [(path.relative_to(records).parts[1], r) for path, r in everything if r.task == "depth"]
    for name, record in apart:
        studies.setdefault(name, []).append(record)
    if studies:
        parts += [
            "## Studies",
            "Each is a preset of this name, which has the protocol; the epoch with the best held-out ",
        ]
        parts[-1] += "accuracy is tested. Rates are chosen by the held-out accuracy, never by that of the test."
    for name, group in sorted(studies.items()):
        parts += [f"### {name}", _study(group).markdown()]
    others = [(path, r) for path, r in everything if r.task not in ("classification", "depth")]
    parts += _experiments(records, others, [figure for figure in known if figure.task != "classification"])
    if missing:
        parts += ["## Missing", "\n".join(f"- {name}: {why}" for name, why in missing.items())]
    return "\n\n".join(parts) + "\n"


def _experiments(root: Path, found: Sequence[tuple[Path, Record]], figures: Sequence[Published]) -> list[str]:
    """Return a part for every other task, with a table for every folder of its runs."""
    groups: dict[str, dict[str, list[Record]]] = {}
    for path, record in found:
        groups.setdefault(record.task, {}).setdefault(path.relative_to(root).parts[1], []).append(record)
    parts = ["## Experiments", EXPERIMENTS] if groups else []
    for task, folders in sorted(groups.items()):
        parts.append(f"### {task.replace('_', ' ').capitalize()}")
        for name, group in sorted(folders.items()):
            parts += [f"`{name}`", _measures(group, [f for f in figures if f.task == task]).markdown()]
    missing = [f for f in figures if not any(_of(record, f) for _, record in found)]
    if missing:
        lines = [f"- {f.task}: {f.label} on {f.dataset} with {f.network}, {f.measure} {f.text()}" for f in missing]
        parts += ["### Published and not run", "\n".join(dict.fromkeys(lines))]
    return parts


def _of(record: Record, figure: Published) -> bool:
    return record.task == figure.task and _same(record, figure) and figure.measure in (record.test or {})


def _measures(records: Sequence[Record], figures: Sequence[Published]) -> Table:
    """Return one row per cell: every measure that the records show, beside published figures where there are any."""
    names = list(dict.fromkeys(name for record in records for name in record.shown))
    rows, costs = [], demanded(records)
    for (dataset, network, label), group in sorted(cells(records).items()):
        shown = []
        for name in names:
            told = [f.text() for f in figures if f.measure == name and _of(group[0], f)]
            values = measured(group, name)
            value = spread([100 * v for v in values] if name == "accuracy" else values) + without(values, group)
            shown.append(value + (f" (published {'; '.join(told)})" if told else ""))
        finished = sum(record.status == "finished" for record in group)
        seeds = f"{finished}" + (f" of {len(group)}" if finished < len(group) else "")
        rows.append([dataset, network, label, *shown, *demands(group, costs), seeds, _hardware(group), _seconds(group)])
    header = ["data", "network", "label", *("accuracy %" if n == "accuracy" else n for n in names)]
    header += [*costs, "seeds", "hardware", "s/run"]
    why = sorted({f"{r.label}, seed {r.seed}: {r.message}" for r in records if r.status == "diverged"})
    caption = "Mean ± standard deviation over seeds." + (f" Diverged: {' '.join(why)}" if why else "")
    numbers = [True] * (len(names) + max(len(costs) - 1, 0)) + [False] * bool(costs)
    return Table(caption, header, rows, [False] * 3 + numbers + [True, False, True])


def _reduced(record: Record, figures: Sequence[Published]) -> bool:
    network = record.config.get("network", {})
    published = max((figure.epochs or 0 for figure in figures if _same(record, figure)), default=0)
    if record.config["epochs"] < published:
        return True
    return record.config.get("subset") is not None or _scaled(network) or record.dataset == "Digits"


def _same(record: Record, figure: Published) -> bool:
    # "CIFAR-10 (JPEG)" and "Tiny ImageNet (20k)" are copies of the published sets, and say so.
    same_data = record.dataset.split(" (")[0] == figure.dataset
    return same_data and record.network == figure.network and record.label == figure.label


def _beside(records: Sequence[Record], figures: Sequence[Published]) -> Table:
    rows = []
    for (dataset, network, label), group in sorted(cells(records).items()):
        # A cell whose runs all diverged has a row: leaving it out would hide the failure.
        values = list(accuracies(group).values())
        ours = mean_interval(values) if values else None
        matches = [figure for figure in figures if _same(group[0], figure)]
        rows.append(
            [
                dataset,
                network,
                label,
                "; ".join(figure.text() for figure in matches) or "-",
                percent(ours) if ours else "-",
                interval(ours) if ours else "-",
                "; ".join(f"{100 * (ours.mean - figure.value):+.2f}" for figure in matches if ours) or "-",
                f"{len(values)}" + (f" of {len(group)}" if len(values) < len(group) else ""),
                _protocol(group[0]),
                _hardware(group),
                _seconds(group),
            ]
        )
    header = ["data", "network", "rule", "published %", "ours %", "95 % interval", "difference", "seeds", "protocol"]
    header += ["hardware", "s/run"]
    caption = (
        "Top-1 test accuracy in percent. Seconds are medians over finished seeds and include compilation and "
        'evaluation. Where seeds read "3 of 5", two runs have no accuracy: they diverged, broke off or still run.'
    )
    return Table(caption, header, rows, [False] * 3 + [True] * 5 + [False] * 2 + [True])


def _seconds(group: Sequence[Record]) -> str:
    times = [r.seconds["total"] for r in group if r.status == "finished" and "total" in r.seconds]
    return f"{statistics.median(times):.0f}" if times else "-"


def _protocol(record: Record) -> str:
    config: dict[str, Any] = record.config
    network = config.get("network", {})
    parts = [f"{config['epochs']} epochs", f"batch {config['batch_size']}", f"held out {config['validation']}"]
    if config.get("subset") is not None:
        parts.append(f"{config['subset']} samples")
    if _scaled(network):
        parts.append(f"width {network['width']}")
    return ", ".join(parts)


def _hardware(group: Sequence[Record]) -> str:
    def one(device: Any, cores: Any) -> str:
        named = "CPU" if device == "cpu: cpu" else str(device)
        return f"{named}, {cores} core{'' if cores == 1 else 's'}"

    return "; ".join(sorted({one(r.environment.get("device"), r.environment.get("cores")) for r in group}))


def _evidence(full: Sequence[Record], reduced: Sequence[Record]) -> Table:
    """Return how far inference came and how close the gradient is to backpropagation's, at the last epoch."""
    rows = []
    marked = [dataclasses.replace(r, label=f"{r.label} (reduced)") for r in reduced]
    for (dataset, network, label), group in sorted((cells(full) | cells(marked)).items()):
        last = [r.history[-1] for r in group if r.history and r.history[-1].get("cosine")]
        if not last:
            continue
        residuals = [entry["residual"] for entry in last if "residual" in entry]
        cosines = [statistics.median(entry["cosine"][name] for entry in last) for name in last[0]["cosine"]]
        shown = " / ".join(f"{cosine:.3f}" for cosine in cosines)
        if len(cosines) > MOST:
            shown = f"{len(cosines)} layers: median {statistics.median(cosines):.3f}, least {min(cosines):.3f}"
        residual = f"{statistics.median(residuals):.2g}" if residuals else "-"
        rows.append([dataset, network, label, residual, shown])
    header = ["data", "network", "rule", "relative residual", "cosine with BP, from the input to the output"]
    caption = (
        "At the last epoch, on one held-out batch: the gradient norm over free states after relaxation relative to its "
        "start, and the cosine of each layer's weight gradient with backpropagation's. Medians over seeds."
    )
    return Table(caption, header, rows, [False] * 3 + [True, True])


def _study(records: Sequence[Record]) -> Table:
    """Return one row per network and label of a study."""
    rows = []
    ordered = sorted(records, key=lambda r: (r.config.get("layers", 0), r.network, r.label, r.seed))
    for (_, network, label), group in cells(ordered).items():
        seen = [[e["valid"]["accuracy"] for e in r.history if "valid" in e] for r in group if r.status == "finished"]
        held = [max(accuracy) for accuracy in seen if accuracy]
        tested = list(accuracies(group).values())
        last = [r.history[-1] for r in group if r.history]
        residuals = [entry["state_residual"] for entry in last if "state_residual" in entry]
        cosines = [min(entry["cosine"].values()) for entry in last if entry.get("cosine")]
        rows.append(
            [
                network,
                label,
                percent(mean_interval(held)) if held else "-",
                percent(mean_interval(tested)) if tested else "-",
                f"{len(tested)}" + (f" of {len(group)}" if len(tested) < len(group) else ""),
                f"{statistics.median(residuals):.2g}" if residuals else "-",
                f"{statistics.median(cosines):.3f}" if cosines else "-",
                str(group[0].passes or "-"),
                _seconds(group),
            ]
        )
    header = ["network", "rule", "held-out %", "test %", "seeds", "residual", "least cosine", "passes", "s/run"]
    caption = (
        "Accuracy in percent, mean ± standard deviation over seeds; relative residual in the states and the smallest "
        "cosine of a layer's weight gradient with backpropagation's at the last epoch, medians over seeds."
    )
    return Table(caption, header, rows, [False] * 2 + [True] * 7)


def _scaled(network: dict[str, Any]) -> bool:
    """Say whether a benchmark network has another width than the published one."""
    return str(network.get("name")).startswith("vgg") and network.get("width", 1.0) != 1.0


def _missing(records: Sequence[Record], figures: Sequence[Published]) -> str:
    """Return a sentence per published network and data set without a run of ours."""
    if not figures:
        return "There are no published figures to run against."
    lines = []
    wanted: dict[tuple[str, str], list[str]] = {}
    for figure in figures:
        if not any(_same(record, figure) for record in records):
            labels = wanted.setdefault((figure.dataset, figure.network), [])
            if figure.label not in labels:
                labels.append(figure.label)
    for (dataset, network), labels in wanted.items():
        why = "needs a GPU: hours a seed on CPU cores" if network.startswith("vgg") else "preset at hand, not run"
        lines.append(f"- {network} on {dataset} ({', '.join(labels)}): {why}.")
    return "\n".join(lines) or "Every published cell has a run."
