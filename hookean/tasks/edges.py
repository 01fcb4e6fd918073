"""Task `edges`: what a relaxation step of a graph costs against its number of couplings, dense and sparse."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import pydantic

from ..core.builders import graph
from ..core.edges import count_edges
from ..core.initialise import Sweeps
from ..core.network import Network
from ..core.topology import Random
from ..inference.gradient import Gradient
from ..inference.relax import relax
from ..learning.energy_gradient import energy_gradient
from ..record import Chart
from .experiment import AbstractExperiment, Stage


class Edges(AbstractExperiment, frozen=True):
    """Time random graphs of one size and growing density: a step of all states, and a gradient of all weights.

    Attributes:
        inputs, hidden, outputs: units of image, hidden group and label (default: 2000 in all).
        densities: shares of the couplings that are there.
        batch_size: samples settled together.
        steps: relaxation steps of the longer of two runs; a step is their difference over their number.
        repeats: timings, of which the median counts.
    """

    name: ClassVar[str] = "edges"
    smoke: ClassVar[Mapping[str, Any]] = {
        "inputs": 40,
        "hidden": 50,
        "densities": [0.05, 0.5],
        "batch_size": 8,
        "steps": 6,
        "repeats": 1,
    }
    inputs: int = pydantic.Field(default=784, ge=1)
    hidden: int = pydantic.Field(default=1206, ge=1)
    outputs: int = pydantic.Field(default=10, ge=1)
    densities: list[float] = pydantic.Field(default=[0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0], min_length=1)
    batch_size: int = pydantic.Field(default=100, ge=1)
    steps: int = pydantic.Field(default=20, ge=4)
    repeats: int = pydantic.Field(default=5, ge=1)

    def names(self) -> dict[str, str]:
        units = self.inputs + self.hidden + self.outputs
        return {
            "label": self.label or "graph",
            "algorithm": "PC",
            "network": f"graph of {units} units",
            "dataset": "random",
        }

    def measure(self, stage: Stage) -> None:
        lines: dict[str, dict[str, list[float]]] = {}
        with stage.progress("densities", len(self.densities)) as bar:
            for density in self.densities:
                for form in ("dense", "sparse"):
                    network, edges = self._graph(density, form == "sparse")
                    stage.record.parameters = max(stage.record.parameters, edges)
                    for what, milliseconds in self._times(network).items():
                        line = lines.setdefault(f"{what}, {form}", {"x": [], "y": []})
                        line["x"].append(float(edges))
                        line["y"].append(milliseconds)
                bar.advance(note=f"density {density}")
        steps = {name.removeprefix("step, "): line for name, line in lines.items() if name.startswith("step")}
        weights = {name.removeprefix("weights, "): line for name, line in lines.items() if name.startswith("weights")}
        of = f"{self.batch_size} samples"
        stage.record.charts = [
            Chart("Cost of a relaxation step", "couplings", f"ms, {of}", steps, "xy", "The dense form costs the same."),
            Chart("Cost of the weight gradient", "couplings", f"ms, {of}", weights, "xy", "Once a batch."),
        ]
        cheaper = [
            e for e, a, b in zip(steps["sparse"]["x"], steps["sparse"]["y"], steps["dense"]["y"], strict=True) if a < b
        ]
        stage.record.test = {
            "sparse step at fewest couplings ms": steps["sparse"]["y"][0],
            "dense step at fewest couplings ms": steps["dense"]["y"][0],
            "most couplings where sparse is faster": max(cheaper, default=0.0),
        }
        stage.record.shown = list(stage.record.test)

    def _graph(self, density: float, sparse: bool) -> tuple[Network, int]:
        key = jax.random.key(self.seed)
        network = graph(
            self.inputs, self.outputs, hidden=(self.hidden,), topology=Random(density), sparse=sparse, key=key
        )
        blocks = [block for term in network.term_list for block in term.function.blocks]  # type: ignore[attr-defined]
        return network, count_edges(blocks)

    def _times(self, network: Network) -> dict[str, float]:
        key = jax.random.key(self.seed)
        clamps = {
            "x": jax.random.normal(key, (self.batch_size, self.inputs)),
            "y": jnp.eye(self.outputs)[jnp.arange(self.batch_size) % self.outputs],
        }

        def settled(network: Network, clamps: Any, steps: int) -> Any:
            settings = {"solver": Gradient(0.01), "steps": steps, "initial": Sweeps(1), "unroll": False}
            return relax(network, clamps, **settings).states

        run = eqx.filter_jit(settled)
        short, long = 2, self.steps
        states = run(network, clamps, short)
        took = {n: self._median(lambda n=n: run(network, clamps, n)) for n in (short, long)}
        learn = eqx.filter_jit(lambda network, states: energy_gradient(network, states)[0])
        return {
            "step": max(took[long] - took[short], 0.0) / (long - short),
            "weights": self._median(lambda: learn(network, states)),
        }

    def _median(self, function: Callable[[], Any]) -> float:
        jax.block_until_ready(function())  # compiled before it is timed
        found = []
        for _ in range(self.repeats):
            began = time.perf_counter()
            jax.block_until_ready(function())
            found.append(1e3 * (time.perf_counter() - began))
        return statistics.median(found)
