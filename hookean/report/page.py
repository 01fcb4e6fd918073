"""The page: one HTML file without script or outside resource, made from record files alone."""

import dataclasses
import itertools
import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jinja2

from ..record import Record, find_records, read_arrays, write_text
from . import drawing, figure, measured, picture
from .parts import Draft, Result, Run, Section
from .statistics import mean_interval
from .table import Table, accuracies, cells, measured_table, paired_table, spread, summary_table
from .table import measured as values_of

NAMED = 6  # labels that the sentence of a section names; the table has all


def write_report(folders: Sequence[Path], out: Path) -> Path:
    """Write the page about every record below the folders and return its file. The same records give the same bytes.

    Arguments:
        folders: searched at any depth for record.json; arrays.npz beside one adds sample images.
        out: the HTML file; replaced whole.

    Raises:
        ValueError: if there is no record below the folders.
        RecordError: if a record cannot be read or the page cannot be written.
    """
    found = find_records(*folders)
    if not found:
        places = ", ".join(str(folder) for folder in folders)
        raise ValueError(f"no record.json below {places or 'no folder at all'}: name a folder that holds runs.")
    names = itertools.count(1)
    sections = []
    for i, (study, group) in enumerate(_grouped(found, folders), 1):
        section = _kind(group[0][1].task, group)(f"s{i}", group, folders, names)
        title = f"{section.title} ({study})" if study else section.title
        sections.append(dataclasses.replace(section, title=title))
    broken = [run for section in sections for run in section.runs if run.record.status != "finished"]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("template.html.jinja")
    write_text(out, template.render(sections=sections, broken=broken, count=len(found), dates=_dates(found)))
    return out


def _grouped(
    found: Sequence[tuple[Path, Record]], folders: Sequence[Path]
) -> list[tuple[str, list[tuple[Path, Record]]]]:
    """Return the runs of every section, with a name where runs of several studies would be called the same."""
    grouped: dict[tuple[str, str, str], list[tuple[Path, Record]]] = {}
    for path, record in found:
        network = _family(record) if record.task == "depth" else record.network
        grouped.setdefault((record.task, record.dataset, network), []).append((path, record))
    parts: list[tuple[str, list[tuple[Path, Record]]]] = []
    for group in grouped.values():
        try:
            cells([record for _, record in group])
            parts.append(("", group))
        except ValueError:
            studies: dict[str, list[tuple[Path, Record]]] = {}
            for path, record in group:
                root = next((folder for folder in folders if path.is_relative_to(folder)), path.parent)
                places = path.relative_to(root).parts
                studies.setdefault(places[1] if len(places) > 2 else places[0], []).append((path, record))
            parts += studies.items()
    return parts


def _kind(task: str, group: Sequence[tuple[Path, Record]]) -> Callable[..., Section]:
    """Return what makes the section of a group of runs."""
    if task == "depth":
        return _section_over_depth
    return _section_measured if measured.experiments([record for _, record in group]) else _section


def _section_measured(
    key: str, group: Sequence[tuple[Path, Record]], folders: Sequence[Path], names: Iterator[int]
) -> Section:
    """Return the section of an experiment: its measures, charts and images."""
    records = [record for _, record in group]
    first = records[0]
    labels = {label: runs for (_, _, label), runs in cells(records).items()}
    main = first.shown[0]
    scores = [(label, f"{main} {spread(found)}") for label, runs in labels.items() if (found := values_of(runs, main))]
    sizes = sorted({len(runs) for runs in labels.values()})
    seeds = " to ".join(str(n) for n in sizes) + (" seed" if sizes == [1] else " seeds")
    drafts = [Draft(chart.title, chart.reading, plot, "") for chart, plot in measured.charts(labels)]
    drafts += _image_drafts(group)
    return Section(
        key=key,
        title=f"{first.task.replace('_', ' ').capitalize()}: {first.dataset}, {first.network}",
        result=Result(
            f"{first.dataset} with {first.network}",
            scores[:NAMED],
            max(len(scores) - NAMED, 0),
            seeds,
            "Means ± standard deviation",
        ),
        summary=_narrow(measured_table(records)),
        pairs=None,
        paired=False,
        blocks=[draft.build(names) for draft in drafts],
        runs=[_run(path, record, folders) for path, record in sorted(group, key=lambda g: (g[1].label, g[1].seed))],
    )


def _section(key: str, group: Sequence[tuple[Path, Record]], folders: Sequence[Path], names: Iterator[int]) -> Section:
    records = [record for _, record in group]
    first = records[0]
    labels = {label: runs for (_, _, label), runs in cells(records).items()}
    order = _ranking(labels)
    labels = {label: labels[label] for label in sorted(labels)}
    pairs = paired_table(records)
    return Section(
        key=key,
        title=f"{first.dataset}, {first.network}",
        result=_result(first, labels, order),
        summary=_narrow(summary_table(records)),
        pairs=None if pairs is None else _narrow(pairs),
        blocks=[block.build(names) for block in _blocks(labels, order, group)],
        runs=[_run(path, record, folders) for path, record in sorted(group, key=lambda g: (g[1].label, g[1].seed))],
    )


def _family(record: Record) -> str:
    """Return the network's name without its number of layers."""
    return str(record.config["network"]["name"])


def _section_over_depth(
    key: str, group: Sequence[tuple[Path, Record]], folders: Sequence[Path], names: Iterator[int]
) -> Section:
    """Return the section of one kind of network at several depths."""
    records = sorted((record for _, record in group), key=lambda r: (r.config["layers"], r.label))
    first = records[0]
    depths: dict[str, dict[int, list[Record]]] = {label: {} for label in sorted({r.label for r in records})}
    for record in records:
        depths[record.label].setdefault(record.config["layers"], []).append(record)
    deepest = [record for record in records if record.config["layers"] == records[-1].config["layers"]]
    labels = {label: runs for (_, _, label), runs in cells(deepest).items()}
    pairs = paired_table(records, against="BP")
    block = Draft(
        "Against depth",
        "Means over seeds, bands from the lowest to the highest. At its equilibrium predictive coding has a small "
        "residual; with a large one and a cosine near 1 it is backpropagation by another road; with neither it is on "
        "its way.",
        figure.over_depth(depths),
        "No run has finished.",
    )
    return Section(
        key=key,
        title=f"{first.dataset}, {_family(first)}, against depth",
        result=_result(deepest[0], labels, _ranking(labels)),
        summary=_narrow(summary_table(records), ("data",)),
        pairs=None if pairs is None else _narrow(pairs, ("data",)),
        blocks=[block.build(names)],
        runs=[
            _run(path, record, folders)
            for path, record in sorted(group, key=lambda g: (g[1].label, g[1].network, g[1].seed))
        ],
    )


def _blocks(labels: figure.Groups, order: Sequence[str], group: Sequence[tuple[Path, Record]]) -> list[Draft]:
    best = order[0] if order else next(iter(labels))
    return [
        Draft(
            "Learning curves",
            "Lines are means over seeds, bands run from the lowest to the highest seed. Accuracy starts at epoch 1; "
            "energies of different losses have different scales.",
            figure.learning_curves(labels),
            "No run has a history of accuracy or energy.",
        ),
        Draft(
            "Energy over relaxation",
            "How energy spreads, step by step, from the output towards the input while the states relax, on one "
            f"held-out batch. Means over seeds; values below zero or {drawing.DECADES} powers of ten down do not show.",
            figure.relaxation_energies(labels),
            "No run recorded its relaxation.",
        ),
        Draft(
            "Energy over training",
            "Energy of each layer where the weights learn: what the layer leaves unexplained after relaxation.",
            figure.training_energies(labels),
            "No run has energy in more than one layer.",
        ),
        Draft(
            "Did inference settle?",
            "The gradient norm over free states after relaxation, relative to its start: near 0 the states rest at a "
            "minimum of the energy, near 1 they are as far from one as they began.",
            figure.residuals(labels),
            "No run recorded a residual: nothing was relaxed, or evidence was switched off.",
        ),
        Draft(
            "How close is the gradient to backpropagation's?",
            "The cosine of each layer's weight gradient with backpropagation's on the same held-out batch: at 1 both "
            "point the same way, at 0 they have nothing in common.",
            figure.cosines(labels),
            "No run compared its gradient with backpropagation's.",
        ),
        *_depth(labels),
        Draft(
            "Confusion",
            "Percent of each true class on the test split, mean over seeds, for the label with the best accuracy.",
            picture.confusion(best, labels[best]),
            f"{best} recorded no confusion matrix.",
        ),
        Draft(
            "Calibration",
            "On the dotted line a prediction made with 80 % confidence is right 80 % of the time; below it the network "
            "is too sure, above it not sure enough. Larger dots hold more samples.",
            picture.reliability(labels),
            "No run recorded how well its confidence is calibrated.",
        ),
        _samples(labels, order, group),
    ]


def _depth(labels: figure.Groups) -> list[Draft]:
    plot = figure.against_depth(labels)
    reading = (
        "Layer by layer at the last epoch. At its equilibrium predictive coding has a small residual; with a large one "
        "and a cosine near 1 in every layer it is backpropagation by another road; with neither it is on its way."
    )
    return [] if plot is None else [Draft("Against depth", reading, plot, "")]


def _samples(labels: figure.Groups, order: Sequence[str], group: Sequence[tuple[Path, Record]]) -> Draft:
    """Return the samples of the best label that has prediction errors, else of the best one that has images."""
    chosen: tuple[str, drawing.Plot | None] = ("", None)
    for label in [*order, *(label for label in labels if label not in order)]:
        folders = [path.parent for path, record in group if record.label == label]
        arrays: dict[str, Any] = next((found for found in map(read_arrays, folders) if found), {})
        plot = picture.samples(label, arrays)
        if plot is not None and (chosen[1] is None or not plot.note):
            chosen = (label, plot)
        if plot is not None and not plot.note:
            break
    reading = (
        f"Held-out samples under {chosen[0]} with the prediction errors that remain after relaxation with the label "
        "clamped, layer by layer: red where a unit is above its prediction, blue below, each layer on its own scale."
    )
    if chosen[1] is not None and chosen[1].note:
        reading = f"Held-out samples under {chosen[0]}."
    return Draft("Samples", reading, chosen[1], "No run kept sample images.", "small")


def _image_drafts(group: Sequence[tuple[Path, Record]]) -> list[Draft]:
    """Return a block for every title of images, with the first seed of each label."""
    found: dict[str, tuple[str, dict[str, drawing.Plot]]] = {}
    for path, record in sorted(group, key=lambda g: (g[1].label, g[1].seed)):
        arrays = read_arrays(path.parent) if record.images else {}
        for shown in record.images:
            plot = measured.images(record.label, shown, arrays)
            if plot is not None:
                found.setdefault(shown.title, (shown.reading, {}))[1].setdefault(record.label, plot)
    return [
        Draft(title, reading, drawing.Plot([panel for plot in plots.values() for panel in plot.panels]), "", "wide")
        for title, (reading, plots) in found.items()
    ]


def _ranking(labels: figure.Groups) -> list[str]:
    """Return the labels that have a finished run, best mean accuracy first."""
    means = {label: list(accuracies(runs).values()) for label, runs in labels.items()}
    return sorted((x for x in means if means[x]), key=lambda x: (-mean_interval(means[x]).mean, x))


def _result(record: Record, labels: figure.Groups, order: Sequence[str]) -> Result:
    scores = []
    for label in order[:NAMED]:
        value = mean_interval(list(accuracies(labels[label]).values()))
        spread = "" if math.isnan(value.sd) else f"\u00a0±\u00a0{100 * value.sd:.1f}"
        scores.append((label, f"{100 * value.mean:.1f}\u00a0%{spread}"))
    sizes = [len(accuracies(labels[label])) for label in order]
    seeds = " to ".join(str(n) for n in sorted({min(sizes), max(sizes)})) if sizes else "0"
    plural = "seed" if seeds == "1" else "seeds"
    return Result(f"{record.dataset} with {record.network}", scores, max(len(order) - NAMED, 0), f"{seeds} {plural}")


def _narrow(table: Table, without: Sequence[str] = ("data", "network")) -> Table:
    """Return the table without the columns that the heading of its section names."""
    kept = [i for i, name in enumerate(table.header) if name not in without]
    rows = [[re.sub(r"(?<!\S)-(?=\d| )", "−", row[i]) if i else row[i] for i in kept] for row in table.rows]
    return Table(table.caption, [table.header[i] for i in kept], rows, [table.numeric[i] for i in kept])


def _run(path: Path, record: Record, folders: Sequence[Path]) -> Run:
    root = next((folder for folder in folders if path.is_relative_to(folder)), path.parent)
    accuracy = (record.test or {}).get("accuracy")
    result = "" if accuracy is None else f"{100 * accuracy:.2f} %"
    seconds = ", ".join(f"{name} {value:.1f}" for name, value in record.seconds.items())
    return Run(
        name=f"{record.label}, seed {record.seed}",
        record=record,
        folder=path.parent.relative_to(root).as_posix(),
        result=result,
        config=json.dumps(record.config, indent=2, ensure_ascii=False),
        environment=json.dumps(record.environment, indent=2, ensure_ascii=False),
        seconds=seconds,
    )


def _dates(found: Sequence[tuple[Path, Record]]) -> str:
    """Return the first and last day on which a run started."""
    days = sorted({record.started[:10] for _, record in found})
    return days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
