"""Draws docs/figures/relaxation.svg from a relaxation of a chain of five nodes: python docs/figures/draw.py [file]."""

import sys
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hookean import Gradient, Network, Prediction, relax

NAMES = ("x", "h1", "h2", "h3", "y")
WEIGHTS = (1.35, -1.1, 1.25, 1.05)  # of the four predictions; one is negative, so that the chain turns
INPUT, TARGET = 0.62, 1.45
STEPS, RATE = 90, 0.08
INK, GREY, PALE = "#2b2f36", "#8a8f98", "#e3e6ea"
COLOURS = {"h1": "#3b6ea5", "h2": "#4a9b8e", "h3": "#c89b3c", "y": "#b5523b"}
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "text.color": INK,
    "svg.fonttype": "path",
    "svg.hashsalt": "hookean",
}


class Curve(eqx.Module):
    """A prediction by one weight: w sin(x)."""

    weight: jax.Array

    def __call__(self, source: jax.Array) -> jax.Array:
        return self.weight * jnp.sin(source)


def chain() -> Network:
    """Return x -> h1 -> h2 -> h3 -> y, one unit each."""
    terms = [Prediction(NAMES[i + 1], NAMES[i], Curve(jnp.array(w))) for i, w in enumerate(WEIGHTS)]
    return Network(dict.fromkeys(NAMES, 1), terms, input="x", output="y")


def settle(steps: int) -> tuple[dict[str, float], dict[str, float], dict[str, np.ndarray]]:
    """Return (state by node, prediction by node, energy of each term over the steps) after `steps` steps."""
    network = chain()
    clamps = {"x": jnp.array([[INPUT]]), "y": jnp.array([[TARGET]])}
    end = relax(network, clamps, solver=Gradient(RATE), steps=steps, record=True)
    states = {name: value[0] for name, value in end.states.items()}
    predictions = {name: float(value[0]) for name, value in network.predictions(states).items()}
    assert end.trace is not None
    energies = {name: np.asarray(value[0]) for name, value in end.trace.energies.items()}
    return {name: float(value[0]) for name, value in states.items()}, predictions, energies


def draw_chain(ax: Axes, steps: int, title: str, *, path: bool) -> None:
    """Draw beads at the states, bars at the predictions, and between them the springs."""
    states, predictions, _ = settle(steps)
    for column, name in enumerate(NAMES):
        if name in predictions:
            colour, anchor = COLOURS[name], predictions[name]
            ax.plot([column - 1, column - 0.13], [states[NAMES[column - 1]], anchor], color=PALE, lw=1.6, zorder=1)
            ax.plot([column - 0.15, column + 0.15], [anchor, anchor], color=colour, lw=2.2, solid_capstyle="round")
            spring(ax, column, anchor, states[name], colour)
        if path and name not in ("x", "y"):
            beads = [settle(t)[0][name] for t in (0, 5, 10, 20, 40)]
            ax.scatter([column] * len(beads), beads, s=12, color=GREY, alpha=0.25, lw=0, zorder=2)
        clamped = name in ("x", "y")
        face = INK if clamped else "white"
        ax.scatter(column, states[name], s=78, facecolor=face, edgecolor=INK, lw=1.4, zorder=5)
        ax.text(column, -1.5, name, ha="center", va="center")
    ax.set(xlim=(-0.45, 4.45), ylim=(-1.75, 1.75), xticks=[], yticks=[] if path else [-1, 0, 1])
    ax.tick_params(length=0)
    ax.axhline(0, color=PALE, lw=0.8, zorder=0)
    ax.spines[:].set_visible(False)
    ax.set_title(title, loc="left", fontsize=10)


def spring(ax: Axes, column: float, anchor: float, bead: float, colour: str) -> None:
    """Draw a spring of six turns whose length is the prediction error."""
    along = np.linspace(0, 1, 241)
    straight = 0.08
    turning = np.clip((along - straight) / (1 - 2 * straight), 0, 1)
    width = 0.085 * min(1.0, abs(bead - anchor) / 0.12)  # a spring at rest is a point
    ax.plot(
        column + width * np.sin(2 * np.pi * 6 * turning),
        anchor + (bead - anchor) * along,
        color=colour,
        lw=1.4,
        zorder=3,
        solid_joinstyle="round",
    )


def draw_energies(ax: Axes) -> None:
    """Draw the energy of each term over the steps, one on top of the other."""
    energies = settle(STEPS)[2]
    order = list(COLOURS)
    points = np.arange(STEPS + 1)
    ax.stackplot(points, *(energies[n] for n in order), colors=[COLOURS[n] for n in order], alpha=0.85, lw=0)
    total = sum(energies.values())
    ax.plot(points, total, color=INK, lw=1.2)
    last = np.array([energies[n][-1] for n in order])
    lowest = -np.inf
    for name, height in zip(order, np.cumsum(last) - last / 2, strict=True):
        lowest = max(height, lowest + 0.19)  # labels keep their distance
        ax.text(STEPS + 2, lowest, name, color=COLOURS[name], va="center", fontsize=9)
    ax.set(xlim=(0, STEPS), ylim=(0, 2.8), xticks=range(0, STEPS + 1, 30), yticks=range(3), xlabel="relaxation step")
    ax.set_title("Energy by term, nats", loc="left", fontsize=10)
    ax.spines[["top", "right"]].set_visible(False)


def draw(file: Path) -> None:
    """Write the picture."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.4, 3.3), facecolor="white")
        grid = figure.add_gridspec(1, 3, left=0.03, right=0.965, top=0.88, bottom=0.2, wspace=0.12)
        draw_chain(figure.add_subplot(grid[0]), 0, "Start: forward pass, target clamped", path=False)
        draw_chain(figure.add_subplot(grid[1]), STEPS, f"After {STEPS} steps: the error has spread", path=True)
        draw_energies(figure.add_subplot(grid[2]))
        handles = [
            Line2D([], [], marker="o", ls="", mfc="white", mec=INK, label="state"),
            Line2D([], [], marker="o", ls="", color=INK, label="clamped state"),
            Line2D([], [], color=GREY, lw=2.2, label="prediction"),
            Line2D(
                [], [], color=GREY, lw=1.4, marker="$\\wr$", ms=9, ls="", label="spring: its extension is the error"
            ),
        ]
        figure.legend(handles=handles, loc="lower left", bbox_to_anchor=(0.02, -0.01), ncols=4, frameon=False)
        figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else {}, dpi=150)


if __name__ == "__main__":
    draw(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("relaxation.svg"))
