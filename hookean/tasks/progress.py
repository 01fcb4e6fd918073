"""What a person sees while a run works: bars over epochs and steps, or a line per epoch where no terminal is."""

import contextlib
import sys
import time
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

#: Lines a run that no terminal shows: enough to see that it lives.
LINES = 5
COLUMNS = (
    TextColumn("{task.description}"),
    BarColumn(),
    MofNCompleteColumn(),
    TextColumn("{task.fields[note]}"),
    TimeRemainingColumn(),
)


class Reporter:
    """Progress of one run.

    Arguments:
        quiet: show nothing.
        title: what the run is called.
    """

    def __init__(self, title: str, *, quiet: bool = False):
        self.title = title
        self.quiet = quiet
        self.console = Console(stderr=True)
        self.bars: Progress | None = None

    @contextlib.contextmanager
    def run(self, epochs: int, done: int, steps: int) -> Iterator["Reporter"]:
        """Show the bars of a run of `epochs`, of which `done` are behind it, with `steps` batches each."""
        self.started = time.perf_counter()
        self.epochs = epochs
        if self.quiet or not sys.stderr.isatty():
            yield self
            return
        with Progress(*COLUMNS, console=self.console, transient=True) as self.bars:
            self.epoch_bar = self.bars.add_task(self.title, total=epochs, completed=done, note="")
            self.step_bar = self.bars.add_task("  epoch", total=steps, note="")
            yield self
        self.bars = None

    def step(self, index: int, **measures: float) -> None:
        """Report that `index` batches of the epoch are done, with what was measured over them."""
        if self.bars is not None:
            self.bars.update(self.step_bar, completed=index, note=_text(measures))

    def epoch(self, index: int, **measures: float) -> None:
        """Report the end of epoch `index`, counted from 1, with what was measured."""
        if self.bars is not None:
            self.bars.update(self.epoch_bar, completed=index, note=_text(measures))
        elif not self.quiet and (index % max(1, self.epochs // LINES) == 0 or index == self.epochs):
            spent = time.perf_counter() - self.started
            self.console.print(
                f"{self.title}: epoch {index}/{self.epochs}  {_text(measures)}  {spent:.0f} s",
                highlight=False,
                soft_wrap=True,
            )


def _text(measures: dict[str, float]) -> str:
    """Return the measures with underscores as spaces, accuracies as such."""
    shown = {name.replace("_", " "): value for name, value in measures.items()}
    return "  ".join(f"{n} {v:.4f}" if "accuracy" in n else f"{n} {v:.4g}" for n, v in shown.items())


class Bar:
    """Progress of one part of an experiment.

    Arguments:
        title: what the part is called.
        total: how many pieces of work it has.
        quiet: show nothing.
    """

    def __init__(self, title: str, total: int, *, quiet: bool = False):
        self.title, self.total, self.quiet = title, total, quiet
        self.done = 0
        self.started = time.perf_counter()
        self.console = Console(stderr=True)
        self.bars: Progress | None = None

    def __enter__(self) -> "Bar":
        if not self.quiet and sys.stderr.isatty():
            self.bars = Progress(*COLUMNS, console=self.console, transient=True)
            self.bars.start()
            self.bar = self.bars.add_task(self.title, total=self.total, note="")
        return self

    def __exit__(self, *_: object) -> None:
        if self.bars is not None:
            self.bars.stop()
            self.bars = None

    def advance(self, n: int = 1, note: str = "") -> None:
        """Report that n more pieces are done."""
        before, self.done = self.done, self.done + n
        if self.bars is not None:
            self.bars.update(self.bar, completed=self.done, note=note)
        elif not self.quiet:
            every = max(1, self.total // LINES)
            if before // every < self.done // every or self.done == self.total:
                spent = time.perf_counter() - self.started
                line = f"{self.title}: {self.done}/{self.total}  {note}  {spent:.0f} s"
                self.console.print(line, highlight=False, soft_wrap=True)
