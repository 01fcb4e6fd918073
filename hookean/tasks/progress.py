"""What a person sees while a run works: bars over epochs and steps, or a line per epoch where no terminal is."""

import contextlib
import sys
import time
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

#: Lines a run that no terminal shows: enough to see that it lives.
LINES = 5


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
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self.console, transient=True) as self.bars:
            self.epoch_bar = self.bars.add_task(self.title, total=epochs, completed=done, note="")
            self.step_bar = self.bars.add_task("  epoch", total=steps, note="")
            yield self
        self.bars = None

    def step(self, index: int, energy: float, accuracy: float) -> None:
        """Report that `index` batches of the epoch are done."""
        if self.bars is not None:
            note = f"energy {energy:.4g}  accuracy {accuracy:.3f}"
            self.bars.update(self.step_bar, completed=index, note=note)

    def epoch(self, index: int, energy: float, accuracy: float) -> None:
        """Report the end of epoch `index`, counted from 1, with the energy in training and the held-out accuracy."""
        if self.bars is not None:
            self.bars.update(self.epoch_bar, completed=index, note=f"held-out accuracy {accuracy:.4f}")
        elif not self.quiet and (index % max(1, self.epochs // LINES) == 0 or index == self.epochs):
            spent = time.perf_counter() - self.started
            self.console.print(
                f"{self.title}: epoch {index}/{self.epochs}  energy {energy:.4g}  held-out accuracy {accuracy:.4f}  "
                f"{spent:.0f} s",
                highlight=False,
                soft_wrap=True,
            )
