"""Draws the studies of mechanisms.md and ood.md from their records: python docs/figures/studies.py [folder]."""

import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import matplotlib
import numpy as np
from draw import GREY, INK, STYLE
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hookean.record import Record, find_records

RESULTS = Path(__file__).resolve().parents[2] / "results"
BLUE, GREEN, GOLD, RED = "#3b6ea5", "#4a9b8e", "#c89b3c", "#b5523b"
RATES = {0.001: ":", 0.03: "--", 0.3: "-"}  # whose traces are drawn
LOOK = STYLE | {"axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False, "font.size": 8.5}


def read(*folders: str) -> list[Record]:
    """Return the records below these folders of the results."""
    return [record for _, record in find_records(*(RESULTS / folder for folder in folders))]


def accuracy(run: Record) -> float:
    """Return the test accuracy in percent; that of guessing among ten classes where the run diverged."""
    return 100 * run.test["accuracy"] if run.status == "finished" and run.test else 10.0


def rate_of_states(run: Record) -> float:
    return float(run.config["algorithm"]["solver"]["rate"])


def line(
    ax: Axes,
    runs: Iterable[Record],
    x: Callable[[Record], float],
    y: Callable[[Record], float],
    colour: str,
    label: str,
    dash: str = "-",
) -> None:
    """Draw the mean over seeds with a band from the lowest to the highest."""
    points: dict[float, list[float]] = {}
    for run in runs:
        points.setdefault(x(run), []).append(y(run))
    places = sorted(points)
    values = [points[place] for place in places]
    ax.plot(places, [np.mean(v) for v in values], dash, marker="o", ms=3, color=colour, lw=1.4, label=label)
    ax.fill_between(places, [min(v) for v in values], [max(v) for v in values], color=colour, alpha=0.18, lw=0)


def level(ax: Axes, runs: Iterable[Record], y: Callable[[Record], float], colour: str, label: str) -> None:
    """Draw what does not depend on the axis as a level line."""
    ax.axhline(float(np.mean([y(run) for run in runs])), color=colour, lw=1.0, ls=(0, (4, 2)), label=label)


def chosen(runs: Iterable[Record]) -> list[Record]:
    """Return, of the rates of states and weights that a cell was run with, the runs with the best held-out accuracy."""
    cells: dict[tuple, dict[tuple, list[Record]]] = {}
    for run in runs:
        rule = run.config["algorithm"]
        rates = (rule.get("solver", {}).get("rate"), run.config["optimiser"]["rate"])
        cells.setdefault((run.label.split(",")[0], rule.get("steps")), {}).setdefault(rates, []).append(run)

    def held_out(runs: list[Record]) -> float:
        return float(np.mean([max(entry["valid"]["accuracy"] for entry in run.history) for run in runs]))

    return [run for rates in cells.values() for run in max(rates.values(), key=held_out)]


def initialisation() -> Figure:
    """Draw accuracy against T, a line for each start."""
    runs = chosen(read("initialisation/initialisation-small"))
    figure = Figure(figsize=(4.6, 3.0), facecolor="white", layout="constrained")
    ax = figure.subplots()
    for start, colour in (("Forward", BLUE), ("Zero", GOLD), ("Normal", GREEN)):
        some = [run for run in runs if run.label.startswith(start)]
        line(ax, some, lambda run: run.config["algorithm"]["steps"], accuracy, colour, start)
    level(ax, [run for run in runs if run.label.startswith("BP")], accuracy, RED, "BP")
    ax.set(xlabel="T, steps of inference", xticks=[3, 5, 9, 20], title="Test accuracy, %")
    ax.legend()
    return figure


def energies(run: Record) -> Mapping[str, list[float]]:
    assert run.relaxation is not None
    return run.relaxation["last"]["energies"]


def energy_flow() -> Figure:
    """Draw energy by layer over steps, ratios of neighbouring energies and accuracy, both against the state rate."""
    runs = read("energy_flow/energy-flow-small")
    pc = {rule: [run for run in runs if run.label.startswith(f"PC, {rule}")] for rule in ("AdamW", "SGD")}
    bp = {rule: [run for run in runs if run.label == f"BP, {rule}"] for rule in ("AdamW", "SGD")}
    figure = Figure(figsize=(10.4, 3.1), facecolor="white", layout="constrained")
    steps, ratios, accuracies = figure.subplots(1, 3)
    for rate, dash in RATES.items():
        some = [energies(run) for run in pc["AdamW"] if rate_of_states(run) == rate]
        for layer, colour in (("h1", BLUE), ("h2", GREEN), ("y", RED)):
            mean = np.mean([traces[layer] for traces in some], axis=0)
            kept = mean > 0
            steps.plot(np.arange(len(mean))[kept], mean[kept], dash, color=colour, lw=1.4)
    keys = [Line2D([], [], color=colour, label=layer) for layer, colour in (("h1", BLUE), ("h2", GREEN), ("y", RED))]
    keys += [Line2D([], [], color=GREY, ls=dash, label=f"rate {rate:g}") for rate, dash in RATES.items()]
    steps.set(yscale="log", ylim=(1e-17, 3), xlabel="step of inference", title="Energy by layer, nats (PC, AdamW)")
    steps.legend(handles=keys, fontsize=7.5, ncols=2, loc="lower right")
    for pair, colour in ((("h1", "h2"), BLUE), (("h2", "y"), GREEN), (("h1", "y"), GOLD)):

        def ratio(run: Record, pair: tuple[str, str] = pair) -> float:
            last = run.history[-1]["energies"]
            return last[pair[0]] / last[pair[1]]

        line(ratios, pc["AdamW"], rate_of_states, ratio, colour, f"{pair[0]} over {pair[1]}")
        level(ratios, bp["AdamW"], ratio, colour, "")
    ratios.axhline(1, color=GREY, lw=0.8)
    ratios.set(xscale="log", yscale="log", xlabel="state rate", title="Ratio of energies (dashed: BP's deltas)")
    ratios.legend()
    for rule, colour in (("AdamW", BLUE), ("SGD", GOLD)):
        line(accuracies, pc[rule], rate_of_states, accuracy, colour, f"PC, {rule}")
        level(accuracies, bp[rule], accuracy, colour, f"BP, {rule}")
    accuracies.set(xscale="log", xlabel="state rate", title="Test accuracy, %")
    accuracies.legend()
    return figure


def stability() -> Figure:
    """Draw accuracy against width by weight rule."""
    runs = read("stability")
    figure = Figure(figsize=(4.8, 3.0), facecolor="white", layout="constrained")
    ax = figure.subplots()
    for label, colour, dash in (
        ("PC, AdamW", RED, "-"),
        ("PC, SGD", BLUE, "-"),
        ("BP, AdamW", RED, "--"),
        ("BP, SGD", BLUE, "--"),
    ):
        some = [run for run in runs if run.label.startswith(label)]
        line(ax, some, lambda run: run.config["width"], accuracy, colour, label, dash)
    ax.axhline(10, color=GREY, lw=0.8)
    ax.set_xscale("log", base=2)
    widths = sorted({run.config["width"] for run in runs})
    ax.set_xticks(widths, [str(width) for width in widths])
    ax.set(xlabel="width (4096: one seed)", title="Test accuracy of the last network, %")
    ax.set_ylim(0, 84)
    ax.legend(loc="lower right", bbox_to_anchor=(0.98, 0.14), fontsize=7.5, ncols=2)
    return figure


def balance() -> Figure:
    """Draw accuracy and cosine, once with the balance changed at one gradient, once with the gradient changed."""
    ratio, damping = read("energy_flow/balance-ratio"), read("energy_flow/balance-damping")
    equal = [run for run in ratio if set(run.config["network"]["precision"]) == {1.0}]

    def hidden(run: Record) -> float:
        last = run.history[-1]["energies"]
        return last["h1"] / last["h3"]

    def place(run: Record) -> float:  # one place for the seeds of a cell
        group = [hidden(r) for r in ratio if r.label == run.label]
        return float(np.exp(np.mean(np.log(group))))

    def saturation(run: Record) -> float:
        return float(run.config["algorithm"]["saturation"])

    figure = Figure(figsize=(10.4, 3.0), facecolor="white", layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    for rule, colour in (("AdamW", BLUE), ("SGD", GOLD)):
        some = [run for run in ratio if run.label.startswith(rule)]
        line(left, some, place, accuracy, colour, rule)
        some = [run for run in [*damping, *equal] if run.label.startswith(rule) and saturation(run) <= 10]
        line(middle, some, saturation, accuracy, colour, rule)
        line(right, some, saturation, lambda run: min(run.history[-1]["cosine"].values()), colour, rule)
        line(right, some, saturation, lambda run: run.history[-1]["norm_ratio"]["h1"], colour, f"{rule}, size", ":")
    for ax in (left, middle):
        ax.set_ylim(76, 84)
        ax.legend()
    left.set(xscale="log", xlabel="energy of h1 over h3", title="Accuracy, %: balance changed, one gradient")
    middle.set(xscale="log", xlabel="saturation", title="Accuracy, %: gradient changed")
    right.set(xscale="log", xlabel="saturation", title="Gradient beside BP's: least cosine, size in h1")
    right.legend(fontsize=7.5)
    return figure


def ood() -> Figure:
    """Draw the AUROC of every score on every foreign set, PC filled and BP open."""
    figure = Figure(figsize=(10.4, 3.6), facecolor="white", layout="constrained")
    shown = ("Mahalanobis", "ODIN", "logit energy", "entropy", "energy after", "energy before", "max softmax")
    colours = (BLUE, RED, GREY, GOLD, GREEN)
    for ax, folder in zip(figure.subplots(1, 2, sharey=True), ("mnist-small", "fashion-mnist-small"), strict=True):
        runs = read(f"ood/{folder}")
        names = [n.removeprefix("auroc max softmax, ") for n in runs[0].test or {} if n.startswith("auroc max softmax")]
        for place, score in enumerate(shown):
            for j, (other, colour) in enumerate(zip(names, colours, strict=True)):
                for rule, face in (("PC", colour), ("BP", "white")):
                    values = [r.test[f"auroc {score}, {other}"] for r in runs if r.label == rule and r.test]
                    height = place + 0.13 * (2 - j) + (0.03 if rule == "PC" else -0.03)
                    ax.plot([min(values), max(values)], [height] * 2, color=colour, lw=1.2)
                    label = other if rule == "PC" and place == 0 else None
                    ax.plot(
                        np.mean(values), height, "o", ms=4, mfc=face, mec=colour, mew=0.9, label=label, color=colour
                    )
        ax.set_yticks(range(len(shown)), shown)
        ax.axvline(0.5, color=GREY, lw=0.8)
        ax.set(xlabel="AUROC", title=f"{runs[0].dataset} known; filled PC, open BP", xlim=(0.15, 1.01))
        ax.legend(fontsize=7, loc="upper left")
        ax.tick_params(colors=INK)
    return figure


def draw(folder: Path) -> None:
    """Write the pictures as SVG files."""
    for study in (initialisation, energy_flow, stability, balance, ood):
        with matplotlib.rc_context(LOOK):
            figure = study()
            figure.savefig(folder / f"{study.__name__}.svg", metadata={"Date": None})
            if folder != Path(__file__).parent:  # to be looked at
                figure.savefig(folder / f"{study.__name__}.png", dpi=110)


if __name__ == "__main__":
    draw(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
