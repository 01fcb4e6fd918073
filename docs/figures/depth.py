"""Draws docs/figures/depth-evidence.svg and mupc-transfer.svg from records: python docs/figures/depth.py [folder]."""

import statistics
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

import matplotlib
from draw import GREY, INK, PALE, STYLE
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hookean.record import Record, find_records

RESULTS = Path(__file__).resolve().parents[2] / "results" / "depth"
COLOURS = ("#2b2f36", "#b5523b", "#c89b3c", "#d88a6a", "#4a9b8e", "#3b6ea5", "#7a5ba0", "#8a8f98", "#a3485f")
RULES = {
    "BP": "BP",
    "PC": "PC, a step a layer",
    "iPC, 8 steps": "iPC, 8 steps",
    "PC-CN, 20 steps": "centred nudging",
    "PC-GN, saturation 0.1": "PC at equilibrium, κ = 0.1",
    "ePC": "error-based PC",
    "Spiking precision": "spiking precision",
    "Fixed prediction": "fixed prediction",
    "PC-ALM": "PC-ALM",
    "PC, muPC": "PC, a step a layer, muPC",
    "BP, muPC": "BP, muPC",
}
SIZES = {
    "width 64": "width 64, 8 layers",
    "width 256": "width 256, 8 layers",
    "32 layers": "32 layers",
    "64 layers": "64 layers",
}
WIDE = ("Fixed prediction",)
Curve = list[tuple[float, float]]


def records(*studies: str) -> list[Record]:
    """Return the finished runs of the studies."""
    found = (record for _, record in find_records(*(RESULTS / study for study in studies)))
    return [record for record in found if record.status == "finished"]


def accuracy(record: Record) -> float:
    """Return the test accuracy in percent."""
    assert record.test is not None
    return 100 * record.test["accuracy"]


def residual(record: Record) -> float | None:
    """Return the relative residual in the states, at the last epoch."""
    return record.history[-1].get("state_residual")


def least_cosine(record: Record) -> float:
    """Return the least cosine of a layer's weight gradient with that of backpropagation, at the last epoch."""
    return min(record.history[-1]["cosine"].values())


def held_out(record: Record) -> float:
    """Return the best held-out accuracy in percent."""
    return 100 * max(entry["valid"]["accuracy"] for entry in record.history)


def curve(found: Iterable[Record], x: Callable[[Record], float], y: Callable[[Record], float | None]) -> Curve:
    """Return the points of one line, means over seeds."""
    points = defaultdict(list)
    for record in found:
        value = y(record)
        if value is not None:
            points[x(record)].append(value)
    return [(at, statistics.fmean(values)) for at, values in sorted(points.items())]


def plain(ax: Axes, title: str) -> None:
    """Take away what is not needed."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="y", color=PALE, lw=0.8)
    ax.set_title(title, loc="left", fontsize=10)


def draw_evidence(file: Path) -> None:
    """Draw accuracy, residual and least cosine against the number of layers, for every rule."""
    rows = {"plain MLP": records("depth-mlp"), "residual MLP": records("depth-residual", "depth-residual128")}
    columns = (("test accuracy, %", accuracy), ("relative residual", residual), ("least cosine with BP", least_cosine))
    figure = Figure(figsize=(10.4, 6.0), facecolor="white")
    grid = figure.add_gridspec(2, 3, left=0.05, right=0.79, top=0.95, bottom=0.08, hspace=0.34, wspace=0.24)
    for i, (row, found) in enumerate(rows.items()):
        for j, (title, measure) in enumerate(columns):
            ax = figure.add_subplot(grid[i, j])
            for number, (rule, name) in enumerate(RULES.items()):
                points = curve((r for r in found if r.label == rule), lambda r: r.config["layers"], measure)
                dashed = "muPC" in rule
                colour = COLOURS[number % len(COLOURS)] if not dashed else (COLOURS[1] if rule[0] == "P" else INK)
                look = {"color": colour, "ls": "--" if dashed else "-", "lw": 1.4}
                if rule in WIDE:  # its line lies below that of BP
                    look |= {"lw": 5, "alpha": 0.45, "zorder": 1}
                if points:
                    ax.plot(*zip(*points, strict=True), marker="" if rule in WIDE else "o", ms=3, **look)
                if (i, j) == (0, 0):
                    figure.text(0.838, 0.9 - 0.045 * number, name, fontsize=8.5, va="center")
                    handle = figure.add_artist(matplotlib.lines.Line2D([0.803, 0.831], [0.9 - 0.045 * number] * 2))
                    handle.set(**look)
            plain(ax, f"{row}: {title}")
            ax.set(xscale="log", xticks=[4, 8, 16, 32, 64, 128], xlim=(3.6, 145))
            ax.set_xticks([], minor=True)
            ax.set_xticklabels(["4", "8", "16", "32", "64", "128"])
            if j == 1:
                ax.set_yscale("log")
                ax.axhline(1e-2, color=GREY, lw=0.8, ls=":")
            if i == 1:
                ax.set_xlabel("layers")
    figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else {}, dpi=110)


def draw_transfer(file: Path) -> None:
    """Draw the held-out accuracy against the rates of the weights and of the states, a line for each size."""
    columns = (
        ("mupc-transfer", "weight rate", lambda r: r.config["optimiser"]["rate"]),
        ("mupc-transfer-states", "state rate", lambda r: r.config["algorithm"]["solver"]["rate"]),
    )
    figure = Figure(figsize=(10.4, 3.4), facecolor="white")
    panels = figure.subplots(1, 4, sharey=True)
    figure.subplots_adjust(left=0.05, right=0.985, top=0.9, bottom=0.27, wspace=0.1)
    for i, (study, axis, x) in enumerate(columns):
        for j, kind in enumerate(("muPC", "standard")):
            ax = panels[2 * i + j]
            for number, (size, name) in enumerate(SIZES.items()):
                label = f"{kind}, {size}"
                points = curve((r for r in records(study) if r.label.startswith(label)), x, held_out)
                colour = (INK, "#3b6ea5", "#c89b3c", "#b5523b")[number]
                if points:
                    ax.plot(*zip(*points, strict=True), color=colour, lw=1.4, marker="o", ms=3, label=name)
            plain(ax, f"{kind}: {axis}")
            ax.set(xscale="log", xlabel=axis)
    panels[0].set_ylabel("held-out accuracy, %")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="lower center", ncols=4, frameon=False)
    figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else {}, dpi=110)


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    kind = ".png" if len(sys.argv) > 1 else ".svg"
    with matplotlib.rc_context(STYLE):
        draw_evidence(folder / f"depth-evidence{kind}")
        draw_transfer(folder / f"mupc-transfer{kind}")
