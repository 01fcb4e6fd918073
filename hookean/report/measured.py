"""What experiments show beside accuracy: their own charts and images, drawn from records as they describe them."""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from ..record import Chart, Images, Record
from .drawing import STYLE, Curve, Key, Panel, Plot, axes, curve, draw, label_keys, log_scale, scientific
from .figure import Groups, settled

TOGETHER = 7  # lines that one panel holds before every label has a panel of its own
GAP = 0.06  # between images, in widths of one
LARGEST = 6.4  # inches that rows of images take up at most


def charts(groups: Groups) -> list[tuple[Chart, Plot]]:
    """Return every chart that the runs hold, by title: means over seeds, a band from the lowest to the highest."""
    found: dict[str, dict[str, list[Chart]]] = {}
    for label, runs in groups.items():
        for run in settled(runs):
            for chart in run.charts:
                found.setdefault(chart.title, {}).setdefault(label, []).append(chart)
    plots = []
    for by_label in found.values():
        first = next(iter(by_label.values()))[0]
        lines = {label: _lines(same) for label, same in by_label.items()}
        lines = {label: kept for label, kept in lines.items() if kept}
        if lines:
            plots.append((first, _plot(first, lines)))
    return plots


def images(label: str, shown: Images, arrays: Mapping[str, np.ndarray]) -> Plot | None:
    """Return the images of one run as one panel, a named row a line; None where the array is missing."""
    values = arrays.get(shown.array)
    if values is None or values.ndim not in (4, 5) or len(values) != len(shown.rows):
        return None
    scaled = values.astype(float) / (255.0 if values.dtype == np.uint8 else 1.0)
    return Plot([Panel(label, montage(scaled, shown.rows, signed=shown.signed), f"{shown.title}, {label}.")])


def montage(values: np.ndarray, rows: Sequence[str], *, signed: bool) -> Figure:
    """Return a figure of images [rows, columns, h, w(, 3)]; signed ones from blue through white to red."""
    count, columns, height, width = values.shape[:4]
    across = min(LARGEST, 0.62 * columns)
    cell = across / columns
    down = cell * height / width
    name = 0.07 * max((len(row) for row in rows), default=0) + 0.1
    with matplotlib.rc_context(STYLE | {"axes.grid": False}):
        figure = Figure(figsize=(across + name, count * down + 0.06))
        grid = figure.add_gridspec(
            count, columns, left=name / (across + name), right=0.998, bottom=0.01, top=0.99, hspace=GAP, wspace=GAP
        )
        for row, text in enumerate(rows):
            largest = float(np.nanmax(np.abs(values[row]))) or 1.0
            for column in range(columns):
                ax = figure.add_subplot(grid[row, column])
                if signed:
                    image = values[row, column] if values.ndim == 4 else values[row, column].mean(axis=-1)
                    ax.imshow(image, cmap="RdBu_r", vmin=-largest, vmax=largest, interpolation="none")
                else:
                    ax.imshow(np.clip(values[row, column], 0, 1), cmap="gray", vmin=0, vmax=1, interpolation="none")
                ax.set_axis_off()
                if column == 0:
                    ax.text(-0.12, 0.5, text, transform=ax.transAxes, ha="right", va="center", color="#4a4f57")
    return figure


def _lines(same: Sequence[Chart]) -> dict[str, Curve]:
    """Return name -> line over the seeds of one label."""
    names = list(dict.fromkeys(name for chart in same for name in chart.lines))
    found = {}
    for name in names:
        drawn = [chart.lines[name] for chart in same if name in chart.lines]
        line = curve(_tracks(drawn, "x" in same[0].log))
        if line is not None and len(drawn) == 1 and "low" in drawn[0]:
            kept = [i for i in np.argsort(drawn[0]["x"], kind="stable") if np.isfinite(drawn[0]["y"][i])]
            low, high = (np.asarray(drawn[0][edge], float)[kept] for edge in ("low", "high"))
            if len(kept) == len(line.x):
                line = Curve(line.x, line.mean, low, high)
        if line is not None:
            found[name] = line
    return found


def _tracks(drawn: Sequence[Mapping[str, Sequence[float]]], logarithmic: bool) -> list[dict[float, float]]:
    """Return x -> value for the same line of every seed.

    Seeds that were measured at places of their own (bins that follow the values) are read between these, at the places
    of all and over the range that they share, so that a mean never steps from some seeds to others.
    """
    tracks = [{float(x): float(y) for x, y in zip(one["x"], one["y"], strict=True)} for one in drawn]
    most = max(tracks, key=len)
    if all(track.keys() <= most.keys() for track in tracks):
        return tracks
    finite = [sorted((x, y) for x, y in track.items() if np.isfinite(y)) for track in tracks]
    finite = [points for points in finite if points]
    first = max((points[0][0] for points in finite), default=np.inf)
    last = min((points[-1][0] for points in finite), default=-np.inf)
    places = np.asarray(sorted({x for points in finite for x, _ in points if first <= x <= last}))
    if not len(places):
        return tracks
    scale = np.log if logarithmic else np.asarray
    read = [np.interp(scale(places), scale(x), y) for x, y in (np.asarray(points).T for points in finite)]
    return [dict(zip(places.tolist(), values.tolist(), strict=True)) for values in read]


def _plot(chart: Chart, lines: Mapping[str, Mapping[str, Curve]]) -> Plot:
    flat = {(label, name): line for label, named in lines.items() for name, line in named.items()}
    names = list(dict.fromkeys(name for _, name in flat))
    if len(lines) == 1:
        (label,) = lines
        keys = label_keys(name or label for name in names)
        panel = _panel(chart, chart.y, {name or label: lines[label][name] for name in names}, keys)
        return Plot([panel], list(keys.values()) if len(keys) > 1 else [])
    if names == [""] or len(flat) <= TOGETHER:
        titles = {place: place[0] if names == [""] else f"{place[0]}, {place[1]}".rstrip(", ") for place in flat}
        keys = label_keys(titles.values())
        return Plot(
            [_panel(chart, chart.y, {titles[place]: line for place, line in flat.items()}, keys)], list(keys.values())
        )
    keys = label_keys(names)
    return Plot([_panel(chart, label, named, keys) for label, named in lines.items()], list(keys.values()), chart.y)


def _panel(chart: Chart, title: str, lines: Mapping[str, Curve], keys: Mapping[str, Key]) -> Panel:
    figure, ax = axes(chart.x)
    whole = all(float(x).is_integer() for line in lines.values() for x in line.x)
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=whole))
    few = all(len(line.x) <= 12 for line in lines.values())
    for name, line in lines.items():
        draw(ax, line, keys[name])
        if few:
            ax.plot(line.x, line.mean, ".", color=keys[name].colour)
    if "x" in chart.log:
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: scientific(value)))
        ax.xaxis.set_minor_formatter(NullFormatter())
    if "y" in chart.log:
        log_scale(ax)
    ends = ", ".join(f"{name} {float(line.mean[-1]):.3g}" for name, line in lines.items())
    return Panel(title, figure, f"{chart.title}: {chart.y} over {chart.x}. At the last point: {ends}.")


def experiments(records: Sequence[Record]) -> bool:
    """Say whether the runs measure something else than accuracy alone."""
    return any(record.shown != ["accuracy"] for record in records)
