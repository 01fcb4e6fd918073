"""What the page is made of: sections, their blocks of panels, and blocks before they are drawn."""

import dataclasses
from collections.abc import Iterator, Sequence

from markupsafe import Markup

from ..record import Record
from . import drawing
from .table import Table


@dataclasses.dataclass(frozen=True)
class Picture:
    """A panel ready for the page."""

    title: str
    svg: Markup


@dataclasses.dataclass(frozen=True)
class Block:
    """A headed part of a section: how to read it, its panels and legend, or the sentence that says why it is empty."""

    title: str
    reading: str
    pictures: Sequence[Picture]
    keys: Sequence[drawing.Key]
    unit: str
    note: str
    shape: str  # "charts", "small" for samples, "wide" for rows of images

    @property
    def columns(self) -> str:
        """How the panels stand beside each other: the class of the grid."""
        if self.shape != "charts":
            return {"wide": "one"}.get(self.shape, self.shape)
        return {1: "one", 2: "two", 4: "two"}.get(len(self.pictures), "three")


@dataclasses.dataclass(frozen=True)
class Run:
    """What the page says about one run."""

    name: str
    record: Record
    folder: str
    result: str
    config: str
    environment: str
    seconds: str


@dataclasses.dataclass(frozen=True)
class Result:
    """The sentence of a section.

    Attributes:
        place: data set and network.
        scores: label and accuracy, the best first; empty where no run finished.
        more: number of labels left to the table.
        seeds: how many seeds stand behind a figure.
        measure: what the figure is.
    """

    place: str
    scores: Sequence[tuple[str, str]]
    more: int
    seeds: str
    measure: str = "Test accuracy"


@dataclasses.dataclass(frozen=True)
class Section:
    """Everything about one task, data set and network."""

    key: str
    title: str
    result: Result
    summary: Table
    pairs: Table | None
    blocks: Sequence[Block]
    runs: Sequence[Run]
    paired: bool = True  # whether differences between labels are of interest


@dataclasses.dataclass(frozen=True)
class Draft:
    """A block before it is drawn."""

    title: str
    reading: str
    plot: drawing.Plot | None
    missing: str
    shape: str = "charts"

    def build(self, names: Iterator[int]) -> Block:
        if self.plot is None:
            return Block(self.title, "", [], [], "", self.missing, self.shape)
        pictures = [Picture(panel.title, Markup(drawing.svg(panel, names))) for panel in self.plot.panels]
        plot = self.plot
        return Block(self.title, self.reading, pictures, plot.keys, plot.unit, plot.note, self.shape)
