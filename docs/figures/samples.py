"""Draws the samples and the chains of sampling.md from their records: python docs/figures/samples.py [folder]."""

import sys
from pathlib import Path

import matplotlib
import numpy as np
from draw import STYLE
from matplotlib.figure import Figure

from hookean.record import find_records, read_arrays

RESULTS = Path(__file__).resolve().parents[2] / "results" / "sampling" / "sampling-mnist"
GRIDS = ("MCPC", "MCPC, given the class", "VAE")


def sheet(images: np.ndarray) -> np.ndarray:
    """Return images [rows, columns, h, w] side by side in one."""
    rows, columns, height, width = images.shape
    return images.swapaxes(1, 2).reshape(rows * height, columns * width)


def draw() -> Figure:
    """Return the grids of the first seed above the chains of MCPC on their way from the start."""
    arrays = {r.label: read_arrays(path.parent) for path, r in find_records(RESULTS) if r.seed == 0}
    figure = Figure(figsize=(7.2, 4.1), layout="constrained")
    axes = figure.subplot_mosaic([list("abc"), list("ddd")], height_ratios=[2.4, 1.55])
    for name, label in zip("abc", GRIDS, strict=True):
        axes[name].imshow(sheet(arrays[label]["grid"]), cmap="gray")
        axes[name].set_title(label, fontsize=9)
    axes["d"].imshow(sheet(arrays["MCPC"]["film"]), cmap="gray")
    axes["d"].set_title("three chains of MCPC from their start, steps in equal ratios", fontsize=9)
    for ax in axes.values():
        ax.set_axis_off()
    return figure


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    with matplotlib.rc_context(STYLE):
        draw().savefig(folder / "samples.png", dpi=90)
