"""What every figure shares: one style, colours that colour-blind readers can tell apart, and inline SVG."""

import dataclasses
import html
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

STYLE: dict[Any, Any] = {
    "font.family": ["DejaVu Sans"],  # ships with Matplotlib, so that the layout is the same on every machine
    "font.size": 8.5,
    "axes.edgecolor": "#8a8f98",
    "axes.labelcolor": "#4a4f57",
    "axes.linewidth": 0.7,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.unicode_minus": True,
    "grid.color": "#e4e6ea",
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.5,
    "xtick.color": "#8a8f98",
    "ytick.color": "#8a8f98",
    "xtick.labelcolor": "#4a4f57",
    "ytick.labelcolor": "#4a4f57",
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "text.parse_math": False,  # names in records may hold any character
    "svg.fonttype": "none",  # text stays text: smaller, sharp, readable by machines
    "svg.hashsalt": "hookean",
}
SIZE = (4.2, 2.7)  # inches; 302 points wide, so that 8.5 points stay legible on a phone of 390 pixels
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")  # Okabe and Ito (2008)
DASHES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1, 1.5)))
DECADES = 8  # a logarithmic axis shows no more than this: energies far from the output start at rounding errors
FONTS = "system-ui,-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif"


@dataclasses.dataclass(frozen=True)
class Key:
    """An entry of a legend; `dash` as in Matplotlib's line styles."""

    text: str
    colour: str
    dash: Any = "-"

    @property
    def pattern(self) -> str:
        """The dash as SVG's stroke-dasharray."""
        return "none" if self.dash == "-" else " ".join(f"{2 * length:g}" for length in self.dash[1])


@dataclasses.dataclass(frozen=True)
class Panel:
    """One drawing: a title that stands above it and the text that stands in for it."""

    title: str
    drawing: Figure
    text: str


@dataclasses.dataclass(frozen=True)
class Plot:
    """Panels with one legend.

    Attributes:
        unit: what y is in all of them; "" where titles say it.
        note: what is not drawn and why; "" where all is.
    """

    panels: Sequence[Panel]
    keys: Sequence[Key] = ()
    unit: str = ""
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Curve:
    """Mean, smallest and largest value over seeds at every place of x."""

    x: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def curve(tracks: Iterable[Mapping[Any, float]]) -> Curve | None:
    """Return the curve over seeds, or None where no track has a finite value.

    Arguments:
        tracks: one per seed: epoch or step -> value. Places that a seed lacks are left to the others.
    """
    values: dict[Any, list[float]] = {}
    for track in tracks:
        for x, value in track.items():
            if np.isfinite(value):
                values.setdefault(x, []).append(value)
    if not values:
        return None
    places = sorted(values)
    columns = [np.asarray(values[x]) for x in places]
    stacked = [np.asarray([reduce(c) for c in columns]) for reduce in (np.mean, np.min, np.max)]
    return Curve(np.asarray(places), *stacked)


def label_keys(labels: Iterable[str]) -> dict[str, Key]:
    """Return a colour for every label; dashes tell labels apart once the colours are used up."""
    return {
        label: Key(label, PALETTE[i % len(PALETTE)], DASHES[i // len(PALETTE) % len(DASHES)])
        for i, label in enumerate(labels)
    }


def layer_keys(terms: Sequence[str]) -> dict[str, Key]:
    """Return a colour for every term, dark at the input and light at the output."""
    places = np.linspace(0.0, 0.76, len(terms)) if len(terms) > 1 else [0.4]
    return {term: Key(term, to_hex(matplotlib.colormaps["viridis"](p))) for term, p in zip(terms, places, strict=True)}


def axes(xlabel: str, size: tuple[float, float] = SIZE) -> tuple[Figure, Axes]:
    """Return an empty figure in the style; what y is stands above it, in the page."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size)
        height = size[1]
        figure.subplots_adjust(left=0.13, right=0.965, bottom=0.46 / height, top=1 - 0.08 / height)
        ax = figure.add_subplot()
        ax.set_xlabel(xlabel)
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        ax.yaxis.set_major_locator(MaxNLocator(5))
    return figure, ax


def draw(ax: Axes, line: Curve, key: Key, *, dash: Any = None, band: bool = True) -> None:
    """Draw the mean as a line and, where seeds differ, the range from the smallest to the largest value as a band."""
    ax.plot(line.x, line.mean, color=key.colour, linestyle=key.dash if dash is None else dash)
    if band and bool(np.any(line.high > line.low)):
        ax.fill_between(line.x, line.low, line.high, color=key.colour, alpha=0.16, linewidth=0)


def log_scale(ax: Axes, *, bounds: tuple[float, float] | None = None) -> None:
    """Make y logarithmic, unless values below zero, or zeros alone, are drawn; DECADES below the largest are shown.

    Arguments:
        bounds: smallest and largest value, where panels share an axis; by default those of the lines drawn.
    """
    if bounds is None:
        drawn = np.concatenate([np.asarray(line.get_ydata(), float) for line in ax.lines])
        if bool(np.any(drawn < 0)) or not bool(np.any(drawn > 0)):
            return
        bounds = positive_range(drawn)
    ax.set_yscale("log")
    if bounds is not None:
        low, high = bounds
        low = max(low, high * 10.0**-DECADES)
        margin = (high / low) ** 0.06 * 1.05
        ax.set_ylim(low / margin, high * margin)
        narrow = high / low < 30
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if narrow else (1,), numticks=7))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: scientific(value)))


def positive_range(values: np.ndarray) -> tuple[float, float] | None:
    """Return the smallest and largest finite value above zero, or None without one."""
    kept = values[np.isfinite(values) & (values > 0)]
    return (float(kept.min()), float(kept.max())) if kept.size else None


def scientific(value: float) -> str:
    """Return a number for an axis: 0.05, 1, 20, or with a power of ten where that is shorter."""
    if value == 0 or not np.isfinite(value):
        return f"{value:g}"
    exponent = int(np.floor(np.log10(abs(value)) + 1e-9))
    if -3 < exponent < 4:
        return f"{value:g}"
    front = round(value / 10.0**exponent)
    power = "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return power if front == 1 else f"{front}·{power}"


def image_bytes(figure: Figure, kind: str) -> bytes:
    """Return the figure as the bytes of an svg or png file on white. The same figure gives the same bytes."""
    buffer = io.BytesIO()
    with matplotlib.rc_context(STYLE | {"svg.fonttype": "path"}):
        metadata = dict.fromkeys(("Date", "Creator")) if kind == "svg" else {"Software": None}
        figure.savefig(buffer, format=kind, facecolor="white", dpi=110, metadata=metadata, bbox_inches="tight")
    return buffer.getvalue()


def svg(panel: Panel, names: Iterator[int]) -> str:
    """Return the panel as an inline SVG element. The same panel and number give the same text.

    Arguments:
        names: numbers of the page's drawings: they keep references inside one drawing apart from those of the others.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context(STYLE):
        panel.drawing.savefig(buffer, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator")))
    text = buffer.getvalue()
    text = text[text.index("<svg") :].strip()
    head, body = text.split(">", 1)
    view = re.search(r'viewBox="[^"]*"', head)
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", body, flags=re.DOTALL)
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', body))
    prefix = f"d{next(names)}-"
    body = re.sub(r' id="([^"]*)"', lambda m: f' id="{prefix}{m[1]}"' if m[1] in used else "", body)
    body = re.sub(r'(url\(#|href="#)', rf"\g<1>{prefix}", body)
    body = re.sub(r"px 'DejaVu Sans'[^;\"]*", f"px {FONTS}", body)
    body = re.sub(r' (d|x|y|transform|width|height)="[^"]*"', _rounded, body)
    body = re.sub(r"\n\s*", "\n", body)
    label = html.escape(panel.text, quote=True)
    return f'<svg {view[0] if view else ""} role="img" aria-label="{label}">{body}'


def _rounded(match: re.Match[str]) -> str:
    return re.sub(r"\d+\.\d{3,}", lambda m: f"{float(m[0]):.2f}", match[0])
