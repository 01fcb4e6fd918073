"""Curves over epochs and relaxation steps: a mean line per label or layer, a band from lowest to highest seed."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import FuncFormatter, MultipleLocator, NullLocator

from ..record import Record
from .drawing import Curve, Key, Panel, Plot, axes, curve, draw, label_keys, layer_keys, log_scale, positive_range

Groups = Mapping[str, Sequence[Record]]  # label -> its runs
Pick = Callable[[dict[str, Any]], float | None]  # a value of one epoch, None where it has none
UNIT = "Energy per sample, nats"
DEEP = 8  # networks with more layers are drawn against depth as well
SAME = 1e-4  # cosines this close to one are called equal: float32 sums over a batch differ by about as much


def learning_curves(groups: Groups) -> Plot | None:
    """Return held-out accuracy and training energy over epochs, a line per label; None without either."""
    keys = label_keys(groups)
    # Before the first update every network guesses; an axis that reached down to there would hide the rest.
    accuracy = _per_label(groups, lambda entry: (entry.get("valid") or {}).get("accuracy") if entry["epoch"] else None)
    energy = _per_label(groups, lambda entry: (entry.get("train") or {}).get("energy"))
    panels = []
    if accuracy:
        figure, ax = axes("Epoch")
        for label, line in accuracy.items():
            draw(ax, line, keys[label])
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}"))
        ends = _ends(accuracy, lambda value: f"{100 * value:.1f} %")
        panels.append(Panel("Held-out accuracy, %", figure, f"Held-out accuracy over epochs. Last epoch: {ends}."))
    if energy:
        figure, ax = axes("Epoch")
        for label, line in energy.items():
            draw(ax, line, keys[label])
        log_scale(ax)
        ends = _ends(energy, lambda value: f"{value:.3g}")
        panels.append(
            Panel("Training energy per sample, nats", figure, f"Training energy over epochs. Last epoch: {ends}.")
        )
    used = [key for label, key in keys.items() if label in accuracy or label in energy]
    return Plot(panels, used) if panels else None


def relaxation_energies(groups: Groups) -> Plot | None:
    """Return the energy of every layer over relaxation steps, a panel per label: first epoch dashed, last one solid."""
    found: dict[str, dict[str, dict[str, Curve]]] = {}
    for label, runs in groups.items():
        traces = [r.relaxation for r in settled(runs) if r.relaxation]
        for term in _terms([trace[when]["energies"] for trace in traces for when in trace]):
            for when in ("first", "last"):
                line = curve(_steps(trace, when, term) for trace in traces)
                if line is not None and bool(np.any(line.mean > 0)):
                    found.setdefault(label, {}).setdefault(term, {})[when] = line
    if not found:
        return None
    keys = layer_keys(_terms(found.values()))
    bounds = _bounds(line for terms in found.values() for lines in terms.values() for line in lines.values())
    panels = []
    for label, terms in found.items():
        figure, ax = axes("Relaxation step")
        for term, lines in terms.items():
            for when, drawn in lines.items():
                draw(ax, _positive(drawn), keys[term], dash=(0, (3, 1.5)) if when == "first" else "-", band=False)
        log_scale(ax, bounds=bounds)
        ends = _ends({term: lines["last"] for term, lines in terms.items() if "last" in lines}, lambda v: f"{v:.2g}")
        panels.append(
            Panel(label, figure, f"Energy by layer over relaxation steps, {label}. Last epoch, last step: {ends}.")
        )
    legend = [*keys.values(), Key("before the first update", "#6b7078", (0, (3, 1.5))), Key("last epoch", "#6b7078")]
    return Plot(panels, legend, UNIT, _left_out(groups, found, "nothing is relaxed"))


def training_energies(groups: Groups) -> Plot | None:
    """Return the energy of every layer over epochs, a panel per label whose energy stands in more than one layer."""
    found = _per_layer(groups, "energies")
    found = {label: {t: line for t, line in terms.items() if np.any(line.mean > 0)} for label, terms in found.items()}
    found = {label: terms for label, terms in found.items() if len(terms) > 1}
    if not found:
        return None
    keys = layer_keys(_terms(found.values()))
    bounds = _bounds(line for terms in found.values() for line in terms.values())
    panels = []
    for label, terms in found.items():
        figure, ax = axes("Epoch")
        for term, line in terms.items():
            draw(ax, _positive(line), keys[term])
        log_scale(ax, bounds=bounds)
        ends = _ends(terms, lambda value: f"{value:.2g}")
        panels.append(Panel(label, figure, f"Energy by layer over epochs, {label}. Last epoch: {ends}."))
    return Plot(panels, list(keys.values()), UNIT, _left_out(groups, found, "the energy stands in one layer at most"))


def residuals(groups: Groups) -> Plot | None:
    """Return the relative residual of inference over epochs, a line per label; None without inference."""
    keys = label_keys(groups)
    lines = _per_label(groups, lambda entry: entry.get("residual"))
    lines = {label: line for label, line in lines.items() if np.any(line.mean > 0)}
    if not lines:
        return None
    figure, ax = axes("Epoch")
    for label, line in lines.items():
        draw(ax, line, keys[label])
    log_scale(ax)
    ends = _ends(lines, lambda value: f"{value:.2g}")
    panel = Panel("Relative residual", figure, f"Relative residual over epochs. Last epoch: {ends}.")
    return Plot([panel], [keys[label] for label in lines], note=_left_out(groups, lines, "nothing is relaxed"))


def cosines(groups: Groups) -> Plot | None:
    """Return the cosine of weight gradients with backpropagation's by layer, a panel per label that differs from it."""
    found = _per_layer(groups, "cosine")
    same = [label for label, terms in found.items() if all(np.all(line.low > 1 - SAME) for line in terms.values())]
    shown = {label: terms for label, terms in found.items() if label not in same}
    note = f"Within {SAME:g} of 1 in every layer at every epoch: {', '.join(same)}." if same else ""
    if not shown:
        return Plot([], note=note) if note else None
    keys = layer_keys(_terms(shown.values()))
    low = min(0.0, *(float(line.low.min()) for terms in shown.values() for line in terms.values()))
    panels = []
    for label, terms in shown.items():
        figure, ax = axes("Epoch")
        for term, line in terms.items():
            draw(ax, line, keys[term])
        ax.set_ylim(low * 1.05, 1.04)
        ax.yaxis.set_major_locator(MultipleLocator(0.5 if low < 0 else 0.25))
        ends = _ends(terms, lambda value: f"{value:.3f}")
        panels.append(Panel(label, figure, f"Cosine with backpropagation's gradient by layer, {label}: {ends}."))
    return Plot(panels, list(keys.values()), "Cosine with backpropagation's gradient", note)


def against_depth(groups: Groups) -> Plot | None:
    """Return cosine, size of the gradient and energy at the last epoch over the layers, a line per label.

    None where no network has more than `DEEP` layers.
    """
    names = _terms([entry.get("cosine") or {} for runs in groups.values() for run in runs for entry in run.history])
    if len(names) <= DEEP:
        return None
    keys = label_keys(groups)
    place = {name: i + 1 for i, name in enumerate(names)}
    shown: set[str] = set()
    panels = []
    for field, title, logarithmic in (
        ("cosine", "Cosine with backpropagation's gradient", False),
        ("norm_ratio", "Gradient norm over backpropagation's", True),
        ("energies", "Energy, nats", True),
    ):
        lines = {}
        for label, runs in groups.items():
            lasts = [(run.history[-1].get(field) or {} if run.history else {}) for run in settled(runs)]
            line = curve({place[n]: float(v) for n, v in last.items() if n in place} for last in lasts)
            line = line if line is None or not logarithmic else _positive(line)
            if line is not None and len(line.x) > 1:
                lines[label] = line
        if not lines:
            continue
        figure, ax = axes("Layer, from the input")
        for label, line in lines.items():
            draw(ax, line, keys[label])
        if logarithmic:
            log_scale(ax)
        shown |= set(lines)
        panels.append(Panel(title, figure, f"{title} by layer. At the output: {_ends(lines, lambda v: f'{v:.3g}')}."))
    return Plot(panels, [keys[label] for label in groups if label in shown]) if panels else None


def over_depth(groups: Mapping[str, Mapping[int, Sequence[Record]]]) -> Plot | None:
    """Return accuracy, residual, cosine, passes and seconds over the number of layers, a line per label.

    Arguments:
        groups: label -> number of layers -> runs.
    """
    keys = label_keys(groups)
    panels = []
    shown: set[str] = set()
    for title, pick, logarithmic in (
        ("Test accuracy, %", lambda run: None if run.test is None else 100 * run.test["accuracy"], False),
        ("Relative residual in the states", lambda run: _last(run).get("state_residual"), True),
        ("Least cosine with backpropagation's gradient", lambda run: min(_numbers(run, "cosine"), default=None), False),
        ("Energy of the first layer over the last's", _decay, True),
        ("Passes a batch", lambda run: run.passes, True),
        ("Seconds of training", lambda run: run.seconds.get("train"), True),
    ):
        lines = {}
        for label, depths in groups.items():
            rows = [(layers, pick(run)) for layers, runs in depths.items() for run in settled(runs)]
            line = curve({layers: float(value)} for layers, value in rows if value is not None)
            line = _positive(line) if line is not None and logarithmic else line
            if line is not None and len(line.x):
                lines[label] = line
        if not lines:
            continue
        figure, ax = axes("Layers")
        for label, line in lines.items():
            draw(ax, line, keys[label])
            ax.plot(line.x, line.mean, ".", color=keys[label].colour)
        places = sorted({int(x) for line in lines.values() for x in line.x})
        ax.set_xscale("log", base=2)
        ax.set_xticks(places, [str(place) for place in places])
        ax.xaxis.set_minor_locator(NullLocator())
        if logarithmic:
            log_scale(ax)
        shown |= set(lines)
        panels.append(Panel(title, figure, f"{title} over layers. Deepest: {_ends(lines, lambda v: f'{v:.3g}')}."))
    return Plot(panels, [keys[label] for label in groups if label in shown]) if panels else None


def _last(run: Record) -> dict[str, Any]:
    return run.history[-1] if run.history else {}


def _numbers(run: Record, field: str) -> list[float]:
    """Return the finite numbers by layer at the last epoch, from the input to the output."""
    values = _last(run).get(field) or {}
    return [float(values[name]) for name in _terms([values]) if np.isfinite(values[name])]


def _decay(run: Record) -> float | None:
    energies = _numbers(run, "energies")
    return energies[0] / energies[-1] if len(energies) > 1 and energies[-1] > 0 else None


def settled(runs: Sequence[Record]) -> list[Record]:
    """Return the finished runs, or all where none finished: a run that broke off would bend the mean of the others."""
    return [run for run in runs if run.status == "finished"] or list(runs)


def _track(run: Record, pick: Pick) -> dict[int, float]:
    values = {entry["epoch"]: pick(entry) for entry in run.history}
    return {epoch: float(value) for epoch, value in values.items() if value is not None}


def _per_label(groups: Groups, pick: Pick) -> dict[str, Curve]:
    lines = {label: curve(_track(run, pick) for run in settled(runs)) for label, runs in groups.items()}
    return {label: line for label, line in lines.items() if line is not None}


def _per_layer(groups: Groups, name: str) -> dict[str, dict[str, Curve]]:
    found: dict[str, dict[str, Curve]] = {}
    for label, runs in groups.items():
        for term in _terms([entry.get(name) or {} for run in settled(runs) for entry in run.history]):
            line = curve(_track(run, lambda entry: (entry.get(name) or {}).get(term)) for run in settled(runs))  # noqa: B023
            if line is not None:
                found.setdefault(label, {})[term] = line
    return found


def _steps(trace: dict[str, Any], when: str, term: str) -> dict[int, float]:
    part = trace.get(when) or {"steps": [], "energies": {}}
    return {step: float(value) for step, value in zip(part["steps"], part["energies"].get(term, []), strict=False)}


def _terms(maps: Any) -> list[str]:
    """Return the names of layers, each once; numbers in them count as numbers, so that h2 stands before h10."""
    found = list(dict.fromkeys(term for names in maps for term in names))
    return sorted(found, key=lambda name: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)])


def _positive(line: Curve) -> Curve:
    """Return the curve without places where the mean is zero, which a logarithmic axis cannot show."""
    kept = line.mean > 0
    return Curve(line.x[kept], line.mean[kept], np.maximum(line.low[kept], np.finfo(float).tiny), line.high[kept])


def _bounds(lines: Any) -> tuple[float, float] | None:
    return positive_range(np.concatenate([line.mean for line in lines]))


def _ends(lines: Mapping[str, Curve], shown: Callable[[float], str]) -> str:
    return ", ".join(f"{name} {shown(float(line.mean[-1]))}" for name, line in lines.items())


def _left_out(groups: Groups, shown: Mapping[str, object], why: str) -> str:
    names = [label for label in groups if label not in shown]
    return f"Left out, because {why}: {', '.join(names)}." if names else ""
