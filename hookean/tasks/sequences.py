"""Task `sequences`: learn temporal XOR or the adding problem, sequences whose best possible error is known."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pydantic

from .. import algorithms
from ..algorithms.contract import AbstractAlgorithm, TrainState
from ..core import builders
from ..core.parameters import count_parameters
from ..record import Chart
from ..registry import exported_classes, exported_functions
from .build import ConfigError, construct, network_label, resolve, scheduled_algorithm
from .experiment import AbstractExperiment, Stage
from .fit import fit
from .optimiser import Optimiser
from .train import Rows

#: Mean squared error of the best predictor of temporal XOR, and of the constant 1 in the adding problem.
FLOOR = {"xor": 1 / 6, "adding": 0.0}
CONSTANT = {"xor": 1 / 4, "adding": 1 / 6}
TEST_SEED = 1_000_003


class Sequences(AbstractExperiment, frozen=True):
    """Learn sequences that are generated: temporal XOR (predict the next bit) or the adding problem.

    Temporal XOR: of every three bits the third is the exclusive or of the two before, which are random; the network
    predicts each next bit. The best mean squared error is 1/6 (0 on every third bit, 1/4 on the others). Adding
    problem: of two numbers a step, the first is uniform in [0, 1] and the second marks two steps, one in each half; the
    target after the last step is the sum of the two marked numbers. The constant 1 has a mean squared error of 1/6.

    Attributes:
        problem: `xor` or `adding`.
        length: steps of a sequence (default 30).
        samples: sequences to learn from, drawn with the run's seed; 2,000 others, the same for all runs, test.
        network: {"name": `elman` or `jordan`, options of the builder}; readout and density follow from the problem.
        algorithm: {"name": ..., options of the algorithm}.
        optimiser: the weight rule (default Adam with a constant rate of 0.001).
        epochs, batch_size: how long, and how many sequences a step. The last network is tested; nothing is selected.
    """

    name: ClassVar[str] = "sequences"
    smoke: ClassVar[Mapping[str, Any]] = {"samples": 200, "epochs": 1, "length": 9, "network": {"hidden": [8]}}
    problem: Literal["xor", "adding"] = "adding"
    length: int = pydantic.Field(default=30, ge=3)
    samples: int = pydantic.Field(default=10_000, ge=1)
    network: dict[str, Any] = pydantic.Field(default={"name": "elman"})
    algorithm: dict[str, Any] = pydantic.Field(default={"name": "BPTT"})
    optimiser: Optimiser = Optimiser(name="adam", rate=1e-3, schedule="constant")
    epochs: int = pydantic.Field(default=10, ge=0)
    batch_size: int = pydantic.Field(default=100, ge=1)

    def network_options(self) -> dict[str, Any]:
        """Return the builder's name and options, with what follows from the problem."""
        follows = {"readout": "each", "output": "bernoulli"} if self.problem == "xor" else {"readout": "last"}
        return self.network | follows

    def names(self) -> dict[str, str]:
        kind = resolve(self.algorithm, exported_classes(algorithms, AbstractAlgorithm), "algorithm")[0]
        title = "temporal XOR" if self.problem == "xor" else f"adding problem of {self.length} steps"
        return {
            "label": self.label or kind.label,  # type: ignore[attr-defined]
            "algorithm": kind.__name__,
            "network": network_label(self.network),
            "dataset": title,
        }

    def resolved(self) -> dict[str, Any]:
        network = resolve(self.network_options(), exported_functions(builders), "network")[2]
        algorithm = resolve(self.algorithm, exported_classes(algorithms, AbstractAlgorithm), "algorithm")[2]
        return super().resolved() | {"network": network, "algorithm": algorithm}

    def check(self) -> None:
        if self.network.get("name") not in ("elman", "jordan"):
            raise ConfigError(f"network must be elman or jordan, got {self.network.get('name')}.")
        self.resolved()

    def measure(self, stage: Stage) -> None:
        rows, test = (draw(self.problem, n, self.length, s) for n, s in ((self.samples, self.seed), (2000, TEST_SEED)))
        network, _ = construct(
            self.network_options(),
            exported_functions(builders),
            "network",
            inputs=rows["x"].shape[1:],
            outputs=1,
            key=jax.random.key(self.seed),
        )
        batches = self.epochs * (self.samples // self.batch_size)
        algorithm = scheduled_algorithm(self.algorithm, self.optimiser, batches)
        record = stage.record
        record.parameters, record.passes = count_parameters(network), algorithm.passes(network)
        predict = eqx.filter_jit(algorithm.predict)

        def errors(state: TrainState) -> np.ndarray:
            """Return the squared error of every test sequence (at every step)."""
            return np.square(np.asarray(predict(state.network, {"x": jnp.asarray(test["x"])})) - test["y"])[..., 0]

        curve: list[tuple[int, float]] = []

        def after(state: TrainState, epoch: int) -> dict[str, Any]:
            curve.append((epoch, float(errors(state).mean())))
            return {"mse": curve[-1][1]}

        state = fit(
            stage,
            algorithm,
            network,
            rows,
            lambda batch, key: dict(batch),
            epochs=self.epochs,
            batch_size=self.batch_size,
            seed=self.seed,
            after=after,
        )
        self._show(stage, errors(state))

    def _show(self, stage: Stage, errors: np.ndarray) -> None:
        record = stage.record
        curve = [(entry["epoch"], entry["mse"]) for entry in record.history]
        x, y = ([float(point[i]) for point in curve] for i in (0, 1))
        reading = (
            f"The best possible value is {FLOOR[self.problem]:.3f}; a constant reaches {CONSTANT[self.problem]:.3f}."
        )
        record.test, record.shown = {"test mse": float(errors.mean())}, ["test mse"]
        record.charts = [Chart("Learning", "epoch", "mean squared error", {"": {"x": x, "y": y}}, "y", reading)]
        if self.problem == "xor":
            places = [float(errors[:, k::3].mean()) for k in range(3)]
            record.test |= {"mse of the determined bit": places[1], "mse of random bits": (places[0] + places[2]) / 2}
            record.shown += ["mse of the determined bit", "mse of random bits"]


def draw(problem: str, samples: int, length: int, seed: int) -> Rows:
    """Return {"x": inputs, "y": targets} of generated sequences, float32.

    Temporal XOR: x is [n, length, 1] and y the same bits one step later. Adding: x is [n, length, 2], y is [n, 1].
    """
    random = np.random.default_rng((seed, length, problem == "xor"))
    if problem == "xor":
        bits = random.integers(0, 2, (samples, length + 1))
        bits[:, 2::3] = bits[:, 0:-2:3] ^ bits[:, 1:-1:3]
        stream = bits.astype(np.float32)[..., None]
        return {"x": stream[:, :-1], "y": stream[:, 1:]}
    values, half = random.uniform(size=(samples, length)), length // 2
    marks = np.zeros((samples, length))
    for low, high in ((0, half), (half, length)):
        marks[np.arange(samples), random.integers(low, high, samples)] = 1
    x = np.stack([values, marks], axis=-1).astype(np.float32)
    return {"x": x, "y": np.sum(values * marks, axis=1, keepdims=True).astype(np.float32)}
