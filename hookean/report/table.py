"""Tables of runs: accuracy over seeds, evidence, time, and paired differences between labels."""

import dataclasses
import itertools
import math
import statistics
from collections.abc import Iterable, Sequence

from ..record import Record
from .statistics import Interval, mean_interval, paired


@dataclasses.dataclass(frozen=True)
class Table:
    """Text in rows and columns.

    Attributes:
        caption: what the numbers are, with units and protocol.
        numeric: for each column, whether it is aligned to the right.
    """

    caption: str
    header: list[str]
    rows: list[list[str]]
    numeric: list[bool]

    def text(self) -> str:
        """Return the table for a terminal."""
        lines = [self.header, *self.rows]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.header))]

        def aligned(line: Sequence[str]) -> str:
            cells = zip(line, widths, self.numeric, strict=True)
            return "  ".join(cell.rjust(w) if right else cell.ljust(w) for cell, w, right in cells).rstrip()

        rule = "  ".join("-" * width for width in widths)
        return "\n".join([self.caption, "", aligned(self.header), rule, *map(aligned, self.rows)])

    def markdown(self) -> str:
        """Return the table as Markdown, the caption above it."""
        rule = ["---:" if right else "---" for right in self.numeric]
        rows = [self.header, rule, *([cell.replace("|", "\\|") for cell in row] for row in self.rows)]
        return f"{self.caption}\n\n" + "\n".join(f"| {' | '.join(row)} |" for row in rows)


def cells(records: Iterable[Record]) -> dict[tuple[str, str, str], list[Record]]:
    """Group records into cells: (data set, network, label) -> its seeds, in the order of first appearance.

    A run that is given twice counts once.

    Raises:
        ValueError: if a cell has two different runs of one seed: a mean over them would hide one of them.
    """
    found: dict[tuple[str, str, str], dict[int, Record]] = {}
    for record in records:
        seeds = found.setdefault((record.dataset, record.network, record.label), {})
        # As text, because nan is not equal to itself.
        if repr(seeds.setdefault(record.seed, record)) != repr(record):
            raise ValueError(
                f"two different runs are called '{record.label}' on {record.dataset} with {record.network}, seed "
                f"{record.seed}: report on one at a time, or run one again with --set label=NAME."
            )
    return {key: [seeds[seed] for seed in sorted(seeds)] for key, seeds in found.items()}


def accuracies(records: Iterable[Record]) -> dict[int, float]:
    """Return seed -> test accuracy of the finished runs."""
    return {r.seed: r.test["accuracy"] for r in records if r.status == "finished" and r.test is not None}


def summary_table(records: Sequence[Record]) -> Table:
    """Return one row per cell: what the runs measured over seeds, and how they went."""
    if any(record.shown != ["accuracy"] for record in records):
        return measured_table(records)
    rows, costs = [], demanded(records)
    for (dataset, network, label), group in cells(records).items():
        values = list(accuracies(group).values())
        rows.append(
            [
                dataset,
                network,
                label,
                percent(mean_interval(values)) if values else "-",
                interval(mean_interval(values)) if values else "-",
                f"{len(values)}" + (f" of {len(group)}" if len(values) < len(group) else ""),
                _last(group, "residual"),
                _cosine(group),
                _seconds(group),
                *demands(group, costs),
            ]
        )
    header = ["data", "network", "label", "test accuracy %", "95 % interval", "seeds", "residual", "cosine", "s/run"]
    header += costs
    caption = (
        "Test accuracy in percent, mean ± standard deviation over seeds; relative residual of inference and smallest "
        "cosine of a layer's weight gradient with backpropagation's, both at the last epoch, medians over seeds."
    )
    return Table(caption, header, rows, [False] * 3 + [True] * (6 + max(len(costs) - 1, 0)) + [False] * bool(costs))


#: What a training step costs and what it needs that is not local; tables have these columns where records say it.
DEMANDS = ["passes", "step MiB", "not local"]


def demanded(records: Iterable[Record]) -> list[str]:
    """Return the columns of `demands`; none where no record says what its algorithm needs."""
    return DEMANDS if any(record.needs is not None for record in records) else []


def demands(group: Sequence[Record], columns: Sequence[str]) -> list[str]:
    """Return the cells of `DEMANDS` for the runs of one cell: passes a batch, MiB of a step, and needs in words."""
    if not columns:
        return []
    held = [r.memory_mebibytes for r in group if r.memory_mebibytes is not None]
    passes = "-" if group[0].passes is None else str(group[0].passes)
    needs = "-" if group[0].needs is None else ", ".join(group[0].needs) or "nothing"
    return [passes, f"{statistics.median(held):.1f}" if held else "-", needs]


def measured_table(records: Sequence[Record]) -> Table:
    """Return one row per cell with the measures that the records show, in their own units."""
    names = list(dict.fromkeys(name for record in records for name in record.shown))
    rows, costs = [], demanded(records)
    for (dataset, network, label), group in cells(records).items():
        found = {name: measured(group, name) for name in names}
        finished = [r for r in group if r.status == "finished"]
        seeds = f"{len(finished)}" + (f" of {len(group)}" if len(finished) < len(group) else "")
        shown = [spread(values) + without(values, group) for values in found.values()]
        rows.append([dataset, network, label, *shown, seeds, _seconds(group)])
        rows[-1] += demands(group, costs)
    header = ["data", "network", "label", *names, "seeds", "s/run", *costs]
    caption = "Mean ± standard deviation over seeds; seconds of a run are means over finished seeds."
    numbers = len(names) + 2 + max(len(costs) - 1, 0)
    return Table(caption, header, rows, [False] * 3 + [True] * numbers + [False] * bool(costs))


def measured(records: Iterable[Record], name: str) -> list[float]:
    """Return the finite values of one measure over the finished runs."""
    found = [(r.test or {}).get(name) for r in records if r.status == "finished"]
    return [float(value) for value in found if value is not None and math.isfinite(value)]


def without(values: Sequence[float], group: Sequence[Record]) -> str:
    """Say how many finished runs a mean is over where some of them have no finite value."""
    finished = sum(record.status == "finished" for record in group)
    return f" ({len(values)} of {finished})" if 0 < len(values) < finished else ""


def spread(values: Sequence[float]) -> str:
    """Return the mean to four figures, and the standard deviation to two where there are several values."""
    if not values:
        return "-"
    value = mean_interval(values)
    sd = 0.0 if len(set(values)) == 1 else value.sd  # not what rounding leaves
    return f"{value.mean:.4g}" + ("" if math.isnan(value.sd) else f" ± {sd:.2g}")


def paired_table(records: Sequence[Record], against: str | None = None) -> Table | None:
    """Return the paired differences between all labels that share data set, network and seeds; None without pairs.

    Arguments:
        against: only differences from this label.
    """
    rows = []
    groups = cells(records)
    for (one, first), (two, second) in itertools.combinations(groups.items(), 2):
        if one[:2] != two[:2] or (against is not None and against not in (one[2], two[2])):
            continue
        difference = paired(accuracies(first), accuracies(second))
        if difference is not None:
            p = difference.p
            spread = interval(difference.interval, sign=True)
            mean = f"{100 * difference.interval.mean:+.2f}"
            seeds = str(difference.interval.n)
            rows.append([*one[:2], f"{one[2]} - {two[2]}", mean, spread, _probability(p), seeds])
    if not rows:
        return None
    header = ["data", "network", "difference", "points", "95 % interval", "p", "seeds"]
    caption = "Differences in test accuracy, in percentage points, paired over common seeds; p of a paired t-test."
    return Table(caption, header, rows, [False] * 3 + [True] * 4)


def _probability(p: float) -> str:
    if math.isnan(p):
        return "-"
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def percent(value: Interval) -> str:
    """Return a fraction in percent: mean, and standard deviation where there is one."""
    spread = "" if math.isnan(value.sd) else f" ± {100 * value.sd:.2f}"
    return f"{100 * value.mean:.2f}{spread}"


def interval(value: Interval, *, sign: bool = False) -> str:
    """Return the 95 % interval of a fraction in percent; a dash for one value."""
    if math.isnan(value.low):
        return "-"
    shape = "+.2f" if sign else ".2f"
    return f"{100 * value.low:{shape}} to {100 * value.high:{shape}}"


def _seconds(group: Sequence[Record]) -> str:
    times = [r.seconds["total"] for r in group if r.status == "finished" and "total" in r.seconds]
    return f"{statistics.mean(times):.1f}" if times else "-"


def _last(group: Sequence[Record], name: str) -> str:
    values = [entry[name] for r in group for entry in r.history[-1:] if entry.get(name) is not None]
    values = [value for value in values if math.isfinite(value)]
    return f"{statistics.median(values):.1e}" if values else "-"


def _cosine(group: Sequence[Record]) -> str:
    layers = [list(entry["cosine"].values()) for r in group for entry in r.history[-1:] if entry.get("cosine")]
    values = [min(layer) for layer in layers if all(map(math.isfinite, layer))]
    return f"{statistics.median(values):.3f}" if values else "-"
