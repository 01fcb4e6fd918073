"""The command line: demo, list, run, compare, search, benchmark, report, results, gallery, bench."""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from .tasks.suite import Entry

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Networks that learn by relaxing an energy: predictive coding beside backpropagation.",
)

Out = Annotated[Path, typer.Option("--out", help="Folder for records, checkpoints and the report.")]
Seeds = Annotated[int, typer.Option("--seeds", min=1, help="Number of seeds.")]
Epochs = Annotated[int | None, typer.Option("--epochs", help="Passes over the training data.")]
Resume = Annotated[bool, typer.Option("--resume", help="Keep finished runs and go on with killed ones.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress.")]
Sets = Annotated[
    list[str] | None, typer.Option("--set", help="Any option of the task: key=value, as in algorithm.steps=8.")
]
Download = Annotated[bool, typer.Option("--download", help="Allow a missing data set to be fetched from the hub.")]

#: Where the published figures lie in the source tree.
PUBLISHED = Path("docs/published.toml")
#: What the demonstration runs: small enough for a minute on two cores, four algorithms on one network.
DEMO: dict[str, Any] = {
    "dataset": "digits",
    "network": {"name": "mlp", "hidden": [64, 64]},
    "epochs": 30,
    "batch_size": 32,
    "validation": 0.15,
    "evidence": 15,
    "checkpoint": 15,
    "optimiser": {"rate": 3e-3, "weight_decay": 1e-3},
    "variants": [
        {"label": "PC", "algorithm": {"name": "PC", "steps": 6, "solver": {"rate": 0.1}}},
        {"label": "iPC", "algorithm": {"name": "IPC", "steps": 4, "solver": {"rate": 0.3}}},
        {"label": "CN", "algorithm": {"name": "CN", "steps": 6, "solver": {"rate": 0.1}}},
        {"label": "BP", "algorithm": {"name": "BP"}},
    ],
}


@app.command()
def demo(out: Out = Path("runs/demo"), quiet: Quiet = False) -> None:
    """Train PC, iPC, CN and BP on the same network on handwritten digits, three seeds each, in about a minute."""
    from .tasks import Classification
    from .tasks.grid import run_all, study

    _close(run_all(study(Classification, DEMO, {}, 3), out, resume=True, quiet=quiet), out)


@app.command(name="list")
def list_(
    what: Annotated[str | None, typer.Argument(help="algorithms, networks, datasets, tasks or presets")] = None,
) -> None:
    """List what is registered, with one line about each."""
    from rich.console import Console
    from rich.table import Table

    from .registry import find

    kinds = {what: find(what, _registered(), "kind of thing to list")} if what else _registered()
    for title, members in kinds.items():
        table = Table(title=title, title_justify="left", box=None, show_header=False, padding=(0, 2))
        table.add_column(no_wrap=True, style="bold")
        table.add_column()
        for name, line in members.items():
            table.add_row(name, line)
        Console().print(table)


@app.command()
def run(
    what: Annotated[list[str], typer.Argument(help="A task (classification) or one or more presets.")],
    dataset: Annotated[str | None, typer.Option(help="Data set.")] = None,
    network: Annotated[str | None, typer.Option(help="Network.")] = None,
    algorithm: Annotated[str | None, typer.Option(help="Algorithm.")] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Number of seeds (default: what the preset says, or 1).")
    ] = None,
    epochs: Epochs = None,
    out: Out = Path("runs/latest"),
    sets: Sets = None,
    resume: Resume = False,
    quiet: Quiet = False,
    download: Download = False,
) -> None:
    """Run a task or presets, once per seed, and write records and a report."""
    from .tasks import grid

    changes = _changes(dataset, network, algorithm, epochs, download, sets)
    configs = []
    for name in what:
        entry = _entry(name)
        configs += grid.study(entry.task, entry.values, changes, seeds or entry.seeds)
    _close(grid.run_all(configs, out, resume=resume, quiet=quiet), out)


@app.command()
def compare(
    algorithms: Annotated[str, typer.Option(help="Algorithms, separated by commas.")] = "PC,IPC,CN,BP",
    datasets: Annotated[str, typer.Option(help="Data sets, separated by commas.")] = "digits",
    networks: Annotated[str, typer.Option(help="Networks, separated by commas.")] = "mlp",
    seeds: Seeds = 3,
    epochs: Epochs = None,
    out: Out = Path("runs/compare"),
    sets: Sets = None,
    quiet: Quiet = False,
    download: Download = False,
) -> None:
    """Run a grid of algorithms, data sets and networks; finished cells are kept when the command is run again."""
    from .tasks import Classification
    from .tasks.grid import grid, run_all

    axes = {
        "dataset": _names(datasets),
        "network": _names(networks),
        "algorithm": _names(algorithms),
    }
    values = _changes(None, None, None, epochs, download, sets)
    _close(run_all(grid(Classification, values, axes, seeds), out, resume=True, quiet=quiet), out)


@app.command()
def search(
    what: Annotated[str, typer.Argument(help="A preset of a search, by name or file: what trials share, and a space.")],
    trials: Annotated[int | None, typer.Option(help="Trials in all, over all processes and sessions.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Minutes after which no trial begins.")] = None,
    sampler: Annotated[str | None, typer.Option(help="Who proposes: tpe, random or nsgaii.")] = None,
    pruner: Annotated[str | None, typer.Option(help="Who gives up what lies behind: median, halving or none.")] = None,
    jobs: Annotated[int | None, typer.Option(help="Processes on this machine.")] = None,
    out: Out = Path("runs/search"),
    sets: Sets = None,
    quiet: Quiet = False,
    download: Download = False,
) -> None:
    """Search over options by held-out figures; run again, it goes on with a killed one or shares a running one."""
    from .report.trials import trials_table
    from .tasks import Search, grid

    entry = _entry(what)
    if entry.task is not Search:
        raise typer.BadParameter(f"{what} is no search: it must say task = 'search' and have a [space].")
    given = {"trials": trials, "minutes": minutes, "sampler": sampler, "pruner": pruner, "jobs": jobs}
    changes = _changes(None, None, None, None, download, sets)
    changes |= {key: value for key, value in given.items() if value is not None}
    configs = grid.study(entry.task, entry.values, changes, 1)
    records = grid.run_all(configs, out, resume=True, quiet=quiet)
    for config in configs:
        folder = out.joinpath(*config.cell())
        typer.echo(trials_table(folder).text())
        if (folder / "best.toml").exists():
            typer.echo(f"To train the best again and test once: hookean run '{folder / 'best.toml'}'\n")
    _close(records, out)


@app.command()
def benchmark(
    suite: Annotated[str, typer.Argument(help="smoke (minutes), small (hours on two cores) or full (needs a GPU).")],
    out: Out = Path("runs/benchmark"),
    published: Annotated[
        Path | None, typer.Option(help=f"Published figures (default: {PUBLISHED}, where it is there).")
    ] = None,
    only: Annotated[str, typer.Option(help="Entries to run, separated by commas (default: all).")] = "",
    quiet: Quiet = False,
) -> None:
    """Run or resume a suite over all tasks; write a page of results and a report beside the records."""
    from .report.results import read_published
    from .tasks import suite as suites
    from .tasks.config import read_preset

    if published is None and PUBLISHED.exists():
        published = PUBLISHED
    if published is not None:
        read_published(published)  # what is wrong with it is said before the first run
    entries = suites.suite(suite, {name: read_preset(path) for name, path in _presets().items()}, _tasks())
    if only:
        from .registry import find

        named = {entry.name: entry for entry in entries}
        entries = [find(name, named, f"entry of the suite {suite}") for name in _names(only)]

    def tell(outcome: suites.Outcome) -> None:
        said = outcome.missing or ", ".join(sorted({record.status for record in outcome.records}))
        typer.echo(f"{outcome.entry.name}: {said} ({outcome.seconds:.0f} s)", err=True)

    outcomes = suites.run_suite(entries, out / suite, quiet=quiet, tell=tell)
    _close_suite(outcomes, out / suite, published)


@app.command()
def report(
    folders: Annotated[list[Path], typer.Argument(help="Folders with records, at any depth.")],
    out: Annotated[
        Path | None, typer.Option(help="The file to write (default: report.html in the first folder).")
    ] = None,
) -> None:
    """Write one self-contained HTML page about the runs in the folders."""
    from .report.page import write_report

    typer.echo(f"Report: {write_report(folders, out or folders[0] / 'report.html')}")


@app.command()
def results(
    folder: Annotated[Path, typer.Argument(help="Folder with records.")] = Path("results"),
    published: Annotated[Path, typer.Option(help="Published figures.")] = PUBLISHED,
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("docs/results.md"),
) -> None:
    """Write the page of results from the record files, beside the published figures."""
    from .record import write_text
    from .report.results import results_page

    write_text(out, results_page(folder, published))
    typer.echo(f"Results: {out}")


@app.command()
def gallery(
    folder: Annotated[Path, typer.Argument(help="Folder with records.")] = Path("results"),
    out: Annotated[Path, typer.Option(help="The page to write; pictures lie beside it.")] = Path("docs/gallery.md"),
) -> None:
    """Draw the charts and images of every experiment below a folder into files, with a page that shows them."""
    from .report.gallery import write_gallery

    files = write_gallery(folder, out)
    typer.echo(f"Gallery: {files[0]}, {len(files) - 1} pictures")


@app.command()
def bench(
    networks: Annotated[str, typer.Option(help="Networks, separated by commas.")] = "mlp,vgg5",
    steps: Annotated[str, typer.Option(help="Relaxation steps T, separated by commas.")] = "4,8",
    batches: Annotated[str, typer.Option(help="Batch sizes, separated by commas.")] = "64,128",
    repeats: Annotated[int, typer.Option(min=1, help="Timed steps; the median is shown.")] = 5,
) -> None:
    """Time a training step: seconds, memory and compile time, PC against BP."""
    from rich.console import Console
    from rich.table import Table

    from .tasks.speed import sweep

    table = Table("network", "algorithm", "T", "batch", "ms/step", "x BP", "compile s", "MiB")
    for column in table.columns[2:]:
        column.justify = "right"
    for cost, ratio in sweep(_names(networks), _integers(steps), _integers(batches), repeats):
        table.add_row(
            cost.network,
            cost.algorithm,
            "" if cost.steps is None else str(cost.steps),
            str(cost.batch),
            f"{cost.milliseconds:.2f}",
            f"{ratio:.2f}",
            f"{cost.compile_seconds:.2f}",
            f"{cost.memory_mebibytes:.0f}",
        )
    Console().print(table)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _integers(text: str) -> list[int]:
    try:
        return [int(name) for name in _names(text)]
    except ValueError as error:
        raise typer.BadParameter(f"must be whole numbers separated by commas, got '{text}'.") from error


def _changes(
    dataset: str | None, network: str | None, algorithm: str | None, epochs: int | None, download: bool, sets: Any
) -> dict[str, Any]:
    """Return the values that the options of a command give, nested as in a preset."""
    from .tasks.config import parse_overrides
    from .tasks.sections import merge

    named = {"dataset": dataset, "network": network, "algorithm": algorithm, "epochs": epochs}
    values = {key: value for key, value in named.items() if value is not None}
    return merge(values | ({"download": True} if download else {}), parse_overrides(sets or []))


def _entry(name: str) -> "Entry":
    """Return what a task or a preset, by name or file, runs."""
    from .registry import find
    from .tasks.config import read_preset
    from .tasks.suite import Entry, entry

    members = _tasks()
    if name in members:
        return Entry(name, members[name], {}, 1)
    # A preset stands before a task whose name differs from its own in case, hyphens and underscores alone.
    found = Path(name) if Path(name).suffix == ".toml" else find(name, members | _presets(), "task or preset")
    return entry(name, read_preset(found), members) if isinstance(found, Path) else Entry(name, found, {}, 1)


def _tasks() -> dict[str, Any]:
    """Return name -> task."""
    from . import tasks
    from .registry import exported_classes
    from .tasks.contract import AbstractTask

    return {cls.name: cls for cls in exported_classes(tasks, AbstractTask).values()}


def _presets() -> dict[str, Path]:
    """Return preset name -> file, of the installed package or of the source tree."""
    package = Path(__file__).parent
    for folder in (package / "presets", package.parent / "presets"):
        if folder.is_dir():
            return {path.stem: path for path in sorted(folder.glob("*.toml"))}
    return {}


def _registered() -> dict[str, dict[str, str]]:
    """Return kind -> name -> one line."""
    from . import algorithms, data
    from .algorithms.contract import AbstractAlgorithm
    from .core import builders
    from .data.dataset import AbstractDataset
    from .registry import exported_classes, exported_functions, summary
    from .tasks.config import read_preset

    return {
        "algorithms": {n: summary(c) for n, c in exported_classes(algorithms, AbstractAlgorithm).items()},
        "networks": {n: summary(f) for n, f in exported_functions(builders).items()},
        "datasets": {n: summary(c) for n, c in exported_classes(data, AbstractDataset).items()},
        "tasks": {name: summary(task) for name, task in _tasks().items()},
        "presets": {n: str(read_preset(p).get("about", "")) for n, p in _presets().items()},
    }


def _close(records: list[Any], out: Path) -> None:
    """Print the table, write the report, and exit with 1 if a run diverged."""
    from .report.page import write_report
    from .report.table import summary_table

    typer.echo(summary_table(records).text())
    typer.echo(f"Records: {out}\nReport:  {write_report([out], out / 'report.html')}")
    for record in records:
        if record.status == "interrupted":
            typer.echo(f"{record.label} on {record.dataset}, seed {record.seed}: {record.message}", err=True)
    diverged = [record for record in records if record.status == "diverged"]
    for record in diverged:
        typer.echo(f"error: {record.label} on {record.dataset}, seed {record.seed}: {record.message}", err=True)
    if diverged:
        raise typer.Exit(1)


def _close_suite(outcomes: Sequence[Any], out: Path, published: Path | None) -> None:
    """Write the page of results and the report of a suite, and exit with 1 if something is missing or diverged."""
    from .record import write_text
    from .report.page import write_report
    from .report.results import results_page

    missing = {outcome.entry.name: outcome.missing for outcome in outcomes if outcome.missing}
    broken = [record for outcome in outcomes for record in outcome.records if record.status != "finished"]
    if any(outcome.records for outcome in outcomes):
        write_text(out / "results.md", results_page(out, published, missing))
        typer.echo(f"Results: {out / 'results.md'}\nReport:  {write_report([out], out / 'report.html')}")
    for record in broken:
        typer.echo(
            f"{record.status}: {record.label} on {record.dataset}, seed {record.seed}: {record.message}", err=True
        )
    if missing or broken:
        raise typer.Exit(1)


def _prepare() -> None:
    """Keep compiled programs between runs, and end a terminated run as an interrupted one, with its record written."""
    import jax

    from .data.layout import cache_folder

    # JAX reads the environment when it is imported, which has happened by now: what is set there already stays.
    for option, value in (
        ("jax_compilation_cache_dir", str(cache_folder() / "compiled")),
        ("jax_persistent_cache_min_compile_time_secs", 0.1),
    ):
        if option.upper() not in os.environ:
            jax.config.update(option, value)

    def stop(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)


def main() -> None:
    """Run the command line: one message and a non-zero exit on every error, a traceback only with HOOKEAN_DEBUG=1."""
    _prepare()
    try:
        app()
    except (KeyboardInterrupt, SystemExit) as end:
        if isinstance(end, SystemExit) and end.code != 130:  # Typer turns an interrupt into this exit
            raise
        typer.echo("Stopped. What was saved is kept: run the same command with --resume to go on.", err=True)
        sys.exit(130)
    except Exception as error:
        if os.environ.get("HOOKEAN_DEBUG"):
            raise
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        typer.echo(f"error: {kind}{error}", err=True)
        if not isinstance(error, ValueError | OSError | RuntimeError):
            typer.echo("Set HOOKEAN_DEBUG=1 to see where it happened.", err=True)
        sys.exit(2)
