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
        "densities": [0.2],
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
        kind = "processor time" if jax.default_backend() == "cpu" else "time"
        of = f"ms of {kind}, {self.batch_size} samples"
        stage.record.charts = [
            Chart("Cost of a relaxation step", "couplings", of, steps, "xy", "The dense form costs the same."),
            Chart("Cost of the weight gradient", "couplings", of, weights, "xy", "Once a batch."),
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

        @eqx.filter_jit
        def settle(network: Network, clamps: Any, steps: int) -> Any:
            return relax(network, clamps, solver=Gradient(0.01), steps=steps, initial=Sweeps(1), unroll=False).states

        @eqx.filter_jit
        def learn(network: Network, states: Any) -> Any:
            return energy_gradient(network, states)[0]

        short, long = 2, self.steps
        states = settle(network, clamps, short)
        first, second = (self._median(settle, network, clamps, steps) for steps in (short, long))
        return {"step": max(second - first, 0.0) / (long - short), "weights": self._median(learn, network, states)}

    def _median(self, function: Callable[..., Any], *arguments: Any) -> float:
        jax.block_until_ready(function(*arguments))  # compiled before it is timed
        # On a processor that others use too the time it spent here says more than the clock on the wall.
        clock = time.process_time if jax.default_backend() == "cpu" else time.perf_counter
        found = []
        for _ in range(self.repeats):
            began = clock()
            jax.block_until_ready(function(*arguments))
            found.append(1e3 * (clock() - began))
        return statistics.median(found)
