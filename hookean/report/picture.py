"""Where a network errs: confusion of classes, calibration, and single samples with their prediction errors."""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ..record import Record
from .drawing import STYLE, Panel, Plot, axes, draw, label_keys
from .drawing import Curve as Line
from .figure import Groups, settled

ANNOTATED = 12  # classes up to which a confusion matrix has numbers in its cells
SHOWN = 8  # samples drawn
SATURATED = 0.98  # quantile of the absolute errors of a layer that has full colour: one outlier would pale the rest
STRIPS = 5  # layers drawn per sample: those nearest to the output
WIDEST = 128  # values of a vector drawn as one strip; longer ones are averaged in neighbouring blocks


def confusion(label: str, runs: Sequence[Record]) -> Plot | None:
    """Return the confusion matrix of one label: mean over seeds, in percent of each true class."""
    counts = [np.asarray(run.confusion, float) for run in settled(runs) if run.confusion]
    counts = [count for count in counts if count.shape == counts[0].shape]
    if not counts:
        return None
    mean = np.mean(counts, axis=0)
    percent = 100 * mean / np.maximum(mean.sum(axis=1, keepdims=True), 1e-12)
    classes = len(percent)
    with matplotlib.rc_context(STYLE | {"axes.grid": False, "xtick.major.size": 0, "axes.spines.left": False}):
        figure = Figure(figsize=(4.2, 4.2))
        figure.subplots_adjust(left=0.1, right=0.985, bottom=0.1, top=0.985)
        ax = figure.add_subplot()
        off = np.where(np.eye(classes, dtype=bool), np.nan, percent)
        # Errors have the colours to themselves: the diagonal, ten times larger, would leave them none.
        ax.imshow(off, cmap="Oranges", vmin=0, vmax=max(float(np.nanmax(off, initial=0.0)), 1e-9), interpolation="none")
        ax.set(xlabel="Predicted class", ylabel="True class")
        ax.spines[:].set_visible(False)
        if classes <= ANNOTATED:
            ax.set_xticks(range(classes))
            ax.set_yticks(range(classes))
            _numbers(ax, percent, float(np.nanmax(off, initial=0.0)))
        else:
            for axis in (ax.xaxis, ax.yaxis):
                axis.set_major_locator(MaxNLocator(6, integer=True))
    worst = np.unravel_index(int(np.nanargmax(off)) if classes > 1 else 0, off.shape)
    text = (
        f"Confusion matrix of {label}, mean over {len(counts)} runs. Most frequent error: class {worst[0]} taken for "
        f"{worst[1]}, {percent[worst]:.1f} % of that class."
    )
    return Plot([Panel(label, figure, text)])


def reliability(groups: Groups) -> Plot | None:
    """Return accuracy over confidence, a line per label with its bins pooled over seeds; the diagonal is calibrated."""
    keys = label_keys(groups)
    found = {label: _bins(settled(runs)) for label, runs in groups.items()}
    shown = {label: bins for label, bins in found.items() if bins is not None}
    if not shown:
        return None
    figure, ax = axes("Confidence of the prediction, %", size=(4.2, 4.2))
    ax.plot([0, 1], [0, 1], color="#8a8f98", linewidth=0.9, linestyle=(0, (1, 2)))
    for label, (confidence, accuracy, share) in shown.items():
        draw(ax, Line(confidence, accuracy, accuracy, accuracy), keys[label])
        ax.scatter(confidence, accuracy, s=4 + 60 * share, color=keys[label].colour, linewidth=0, zorder=3)
    ax.set(xlim=(0, 1.02), ylim=(0, 1.02))
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(5))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}"))
    gaps = {label: float(np.sum(share * np.abs(a - c))) for label, (c, a, share) in shown.items()}
    text = ", ".join(f"{label} {100 * gap:.1f} points" for label, gap in gaps.items())
    panel = Panel("Accuracy, %", figure, f"Accuracy over confidence. Mean distance from the diagonal: {text}.")
    return Plot([panel], [keys[label] for label in shown])


def samples(label: str, arrays: Mapping[str, np.ndarray]) -> Plot | None:
    """Return held-out samples with their prediction errors by layer, blue below and red above zero.

    Each layer has its own scale; image-shaped layers show the mean over channels.

    Arguments:
        arrays: of one run: sample_images [k, h, w, c] or [k, f], sample_labels and sample_predictions [k], and
            sample_error/<term> [k, ...].
    """
    names = ("sample_images", "sample_labels", "sample_predictions")
    if any(name not in arrays for name in names):
        return None
    images, truths, predictions = (arrays[name] for name in names)
    errors = {name.split("/", 1)[1]: value for name, value in arrays.items() if name.startswith("sample_error/")}
    errors = dict(list(errors.items())[-STRIPS:])
    pictures = {name: _flat(value) for name, value in errors.items()}
    pictures = {name: v / (float(np.nanquantile(np.abs(v[:SHOWN]), SATURATED)) or 1.0) for name, v in pictures.items()}
    panels = []
    for i in range(min(SHOWN, len(images))):
        truth, guess = int(truths[i]), int(predictions[i])
        title = f"{truth}, recognised" if truth == guess else f"{truth}, taken for {guess}"
        drawing = _sample(images[i], {name: value[i] for name, value in pictures.items()})
        sizes = ", ".join(f"{name} {np.sqrt(np.mean(np.square(v[i], dtype=float))):.2g}" for name, v in errors.items())
        note = f" Root mean square prediction error: {sizes}." if sizes else ""
        panels.append(Panel(title, drawing, f"Held-out sample {i + 1}, {label}: class {title}.{note}"))
    note = "" if errors else f"{label} has no prediction errors to show."
    return Plot(panels, note=note) if panels else None


def _numbers(ax: Axes, percent: np.ndarray, largest: float) -> None:
    for (row, column), value in np.ndenumerate(percent):
        if row == column:
            ax.text(column, row, f"{value:.1f}", ha="center", va="center", fontsize=7.2, weight="bold", color="#1d2026")
        elif value >= 0.05:
            colour = "#ffffff" if value > 0.66 * largest else "#1d2026" if value > 0.25 * largest else "#4a4f57"
            ax.text(column, row, f"{value:.1f}", ha="center", va="center", fontsize=7.2, color=colour)


def _bins(runs: Sequence[Record]) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Return confidence, accuracy and share of samples of every bin that has samples, pooled over runs."""
    tables = [run.calibration for run in runs if run.calibration]
    sizes = {len(table["count"]) for table in tables}
    if len(sizes) != 1:
        return None
    count = np.asarray([table["count"] for table in tables], float)
    total = count.sum(axis=0)
    if total.sum() == 0:
        return None
    kept = total > 0
    pooled = [
        (np.asarray([table[name] for table in tables], float) * count).sum(axis=0)[kept] / total[kept]
        for name in ("confidence", "accuracy")
    ]
    return pooled[0], pooled[1], total[kept] / total.sum()


def _sample(image: np.ndarray, errors: Mapping[str, np.ndarray]) -> Figure:
    """Return one sample above its prediction errors, with full colour at -1 and 1."""
    heights = [7.0] + [4.5 if error.shape[0] > 1 else 1.0 for error in errors.values()]
    with matplotlib.rc_context(STYLE | {"axes.grid": False}):
        figure = Figure(figsize=(1.8, 0.2 * sum(heights) + 0.09 * len(heights)))
        grid = figure.add_gridspec(
            len(heights), 1, height_ratios=heights, left=0.17, right=0.98, bottom=0.02, top=0.99, hspace=0.3
        )
        ax = figure.add_subplot(grid[0, 0])
        if image.ndim == 3:
            ax.imshow(image[..., 0] if image.shape[-1] == 1 else image, cmap="gray", interpolation="none")
        else:
            ax.imshow(np.atleast_2d(np.ravel(image)), cmap="gray", aspect="auto", interpolation="none")
        ax.set_axis_off()
        for row, (name, error) in enumerate(errors.items(), 1):
            ax = figure.add_subplot(grid[row, 0])
            ax.imshow(error, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="none")
            ax.set_aspect("equal" if error.shape[0] > 1 else "auto")
            ax.text(-0.04, 0.5, name, transform=ax.transAxes, ha="right", va="center", color="#4a4f57")
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
    return figure


def _flat(errors: np.ndarray) -> np.ndarray:
    """Return errors [k, ...] as pictures [k, h, w]: of images the mean over channels, of vectors one row."""
    values = np.asarray(errors, float)
    if values.ndim == 4:
        return values.mean(axis=-1)
    rows = values.reshape(len(values), -1)
    if rows.shape[1] > WIDEST:
        rows = np.stack([block.mean(axis=1) for block in np.array_split(rows, WIDEST, axis=1)], axis=1)
    return rows[:, None]
