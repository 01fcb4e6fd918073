"""The gallery: a page with the charts and images of every experiment below a folder, each drawn into a file."""

import itertools
import re
from collections.abc import Collection, Sequence
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..record import Record, find_records, read_arrays, write_bytes, write_text
from . import measured
from .drawing import STYLE, Plot, image_bytes
from .table import cells

HEAD = """# Gallery

What the experiments show, drawn from their record files by `hookean gallery`. Under each title stands the folder of its
runs, mostly the name of a preset: `hookean run NAME` makes them again. Lines are means over seeds, bands run from the
lowest to the highest seed.
"""

#: A legend of more lines stands beside the drawing.
MOST_INSIDE = 8


def write_gallery(folder: Path, out: Path) -> list[Path]:
    """Write the page and its pictures, and return the files; the same records give the same page.

    Arguments:
        folder: searched at any depth for record.json.
        out: the Markdown file; pictures go into a folder of its name beside it.

    Raises:
        ValueError: if no record below the folder has a chart or an image.
        RecordError: if a record cannot be read or a file cannot be written.
    """
    groups: dict[tuple[str, str], list[tuple[Path, Record]]] = {}
    for path, record in find_records(folder):
        if record.charts or record.images:
            place = path.relative_to(folder).parts
            groups.setdefault((record.task, place[1] if len(place) > 2 else place[0]), []).append((path, record))
    if not groups:
        raise ValueError(f"no record below {folder} has a chart or an image: run an experiment into it first.")
    parts = [HEAD]
    files: list[Path] = []
    for (task, name), group in sorted(groups.items(), key=lambda item: item[0]):
        parts.append(f"## {task.replace('_', ' ').capitalize()}: {name}")
        for title, reading, plots in _shown(group):
            parts.append(f"**{title}.** {reading}".strip())
            for i, (caption, plot) in enumerate(plots):
                file = f"{_slug(f'{task}-{name}-{title}')}{f'-{i}' if i else ''}"
                path = _unused(out.with_suffix("") / file, ".png" if caption else ".svg", files)
                write_bytes(path, _drawn(plot, path.suffix[1:]))
                text = "; ".join(panel.text for panel in plot.panels)
                parts.append(f"![{text}]({path.relative_to(out.parent).as_posix()})")
                parts += [caption] if caption else []
                files.append(path)
    write_text(out, "\n\n".join(parts) + "\n")
    return [out, *files]


def _shown(group: Sequence[tuple[Path, Record]]) -> list[tuple[str, str, list[tuple[str, Plot]]]]:
    """Return (title, reading, pictures with their captions) of a group of runs, charts first."""
    found = []
    for (dataset, network), labels in _places(group).items():
        for chart, plot in measured.charts(labels):
            found.append((f"{chart.title}: {dataset}, {network}", chart.reading, [("", plot)]))
    images: dict[str, tuple[str, dict[str, Plot]]] = {}
    for path, record in sorted(group, key=lambda g: (g[1].dataset, g[1].label, g[1].seed)):
        arrays = read_arrays(path.parent) if record.images else {}
        for shown in record.images:
            rows = measured.images(record.label, shown, arrays)
            if rows is not None:
                caption = f"{record.label} on {record.dataset}, {record.network}"
                images.setdefault(shown.title, (shown.reading, {}))[1].setdefault(caption, rows)
    return found + [(title, reading, list(plots.items())) for title, (reading, plots) in images.items()]


def _places(group: Sequence[tuple[Path, Record]]) -> dict[tuple[str, str], dict[str, list[Record]]]:
    """Return (data set, network) -> label -> runs."""
    places: dict[tuple[str, str], dict[str, list[Record]]] = {}
    for (dataset, network, label), runs in cells([record for _, record in group]).items():
        places.setdefault((dataset, network), {})[label] = runs
    return places


def _drawn(plot: Plot, kind: str) -> bytes:
    """Return one image file with all panels of a plot side by side and its legend."""
    if kind == "png":
        return image_bytes(plot.panels[0].drawing, kind)
    with_keys = plot.panels[-1 if len(plot.keys) > MOST_INSIDE else 0]
    for panel in plot.panels:
        title = f"{panel.title}: {plot.unit}" if plot.unit else panel.title
        _finish(panel.drawing, title, plot if panel is with_keys else Plot([]))
    if len(plot.panels) == 1:
        return image_bytes(plot.panels[0].drawing, kind)
    return _joined([panel.drawing for panel in plot.panels])


def _finish(figure: Figure, title: str, plot: Plot) -> None:
    with matplotlib.rc_context(STYLE):
        ax = figure.axes[0]
        ax.set_title(title, loc="left", fontsize=8.5, fontweight="bold")
        handles = [Line2D([], [], color=key.colour, linestyle=key.dash, label=key.text) for key in plot.keys]
        if handles:
            legend = ax.legend(handles=handles, fontsize=7, frameon=False)
            if len(handles) > MOST_INSIDE:
                legend.set_loc("upper left")
                legend.set_bbox_to_anchor((1.0, 1.0), ax.transAxes)


def _joined(figures: Sequence[Figure]) -> bytes:
    """Return SVG drawings side by side, as one file."""
    texts = [image_bytes(figure, "svg").decode() for figure in figures]
    texts = [text[text.index("<svg") :] for text in texts]
    sizes = [re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', text) for text in texts]
    widths = [float(size[1]) if size else 300.0 for size in sizes]
    height = max(float(size[2]) if size else 200.0 for size in sizes)
    placed, left = [], 0.0
    for i, (text, width) in enumerate(zip(texts, widths, strict=True)):
        text = re.sub(r'(url\(#|href="#| id=")', rf"\g<1>p{i}-", text)
        text = re.sub(r'(width|height)="([\d.]+)pt"', r'\1="\2"', text, count=2)  # the units of the whole
        placed.append(text.replace("<svg ", f'<svg x="{left:.1f}" ', 1))
        left += width
    inner = "\n".join(placed)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="{left:.1f}pt" '
        f'height="{height:.1f}pt" viewBox="0 0 {left:.1f} {height:.1f}">\n{inner}\n</svg>\n'
    ).encode()


def _unused(file: Path, suffix: str, used: Collection[Path]) -> Path:
    """Return the file with its suffix, and with a number where long titles have left two of one name."""
    numbered = (file.with_name(f"{file.name}{f'-no{n}' if n > 1 else ''}{suffix}") for n in itertools.count(1))
    return next(path for path in numbered if path not in used)


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:80].rstrip("-")
