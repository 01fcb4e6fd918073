"""Task `recall`: store images, then recall them from corrupted ones; capacity against the number of images."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pydantic
from jaxtyping import Array, Float

from .. import algorithms, data
from ..algorithms.contract import AbstractAlgorithm, AbstractLearner
from ..core import builders, coordinates
from ..core.activation import ACTIVATIONS, Activation
from ..core.coordinates import AbstractCoordinates
from ..core.initialise import Zero
from ..core.network import Network
from ..core.parameters import count_parameters
from ..data.dataset import AbstractDataset
from ..inference.gradient import Gradient
from ..inference.solver import AbstractSolver
from ..record import Chart, Images
from ..registry import exported_classes, find
from .build import CHOICES, ConfigError, construct
from .experiment import AbstractExperiment, Stage
from .fit import fit
from .kept_states import ROW, KeptStates
from .memories import CORRUPTIONS, Cues, Memory, autoencoder_loop, generative, hopfield, nearest
from .modern_recall import halved
from .optimiser import Optimiser

NAMES = {"pc": "PC", "autoencoder": "BP autoencoder", "hopfield": "modern Hopfield", "nearest": "nearest neighbour"}
#: Levels of a channel in the pictures that are kept: 32 cannot be told from 256 and take half the place.
LEVELS = 31


#: Frames of a film, the cue included.
FILM = 6
#: Corruption, cues, and (steps, error of each image, guess) after every step.
Picture = tuple[str, Cues, list[tuple[int, Array, Array]]]


class Recall(AbstractExperiment, frozen=True):
    """Store images in a memory, corrupt them, recall them, for several numbers of images.

    Attributes:
        dataset: colour or grey images, square.
        method: `pc`, a decoder with a free latent; `autoencoder`, trained by backpropagation and iterated to a fixed
            point; `hopfield`, a modern Hopfield network; `nearest`, the stored image nearest to the cue.
        images: N, how many images are stored; one memory is made for each number.
        epochs: passes over the stored images, one number for each N.
        width: units of both hidden nodes.
        latent: units of the latent.
        activation: of the hidden nodes.
        batch_size: stored images a step, or all of them where there are fewer.
        algorithm: how the decoder learns; the autoencoder learns by backpropagation.
        keep_states: the states of a stored image go on where they ended at its last visit (default true; predictive
            coding alone can), instead of starting anew each time.
        optimiser: the weight rule.
        corruptions: `noise`, `lower half`, `centre`, `pixels`.
        noise: standard deviation; pixels are in [0, 1].
        cues: most images that are recalled for each N (the first ones stored).
        controls: number of images that are corrupted in the same way though they were never stored.
        solver, coordinates: how latents are inferred from a cue.
        steps: of inference; of the autoencoder and the Hopfield network, the most iterations.
        beta: inverse temperature of the Hopfield network (default 25, the precision of the published noise).
        threshold: an image is recalled where its mean squared error over the pixels that are not held is below this.
        plain_steps: beside the solver also take so many plain gradient steps on states from zero, on the first N and
            the first eight cues (default 0: none).
        plain_rate: their rate per sample (default 0.004; published: 0.008 to 0.02).
        pictures: number of cues whose pictures are kept.
    """

    name: ClassVar[str] = "recall"
    smoke: ClassVar[Mapping[str, Any]] = {
        "dataset": "digits",
        "images": [10, 30],
        "epochs": [20, 10],
        "width": 24,
        "latent": 16,
        "cues": 10,
        "steps": 3,
        "pictures": 3,
    }
    dataset: str = "tiny_imagenet"
    method: Literal["pc", "autoencoder", "hopfield", "nearest"] = "pc"
    images: tuple[int, ...] = pydantic.Field(default=(50,), min_length=1)
    epochs: tuple[int, ...] = pydantic.Field(default=(80,))
    width: int = pydantic.Field(default=1024, ge=1)
    latent: int = pydantic.Field(default=512, ge=1)
    activation: str = "tanh"
    batch_size: int = pydantic.Field(default=50, ge=1)
    algorithm: dict[str, Any] = pydantic.Field(
        default={
            "name": "PC",
            "steps": 1,
            "solver": {"name": "Newton", "iterations": 10},
            "coordinates": "ErrorCoordinates",
        }
    )
    keep_states: bool = True
    optimiser: Optimiser = Optimiser(rate=1e-3, schedule="constant")
    corruptions: tuple[str, ...] = pydantic.Field(default=("noise", "lower half"), min_length=1)
    noise: float = pydantic.Field(default=0.2, ge=0)
    cues: int = pydantic.Field(default=100, ge=1)
    controls: int = pydantic.Field(default=10, ge=1)
    solver: dict[str, Any] = pydantic.Field(default={"name": "Newton", "iterations": 20})
    coordinates: str = "ErrorCoordinates"
    steps: int = pydantic.Field(default=10, ge=1)
    beta: float = pydantic.Field(default=25.0, gt=0)
    threshold: float = pydantic.Field(default=5e-3, gt=0)
    plain_steps: int = pydantic.Field(default=0, ge=0)
    plain_rate: float = pydantic.Field(default=0.004, gt=0)
    pictures: int = pydantic.Field(default=0, ge=0)

    def check(self) -> None:
        if self.method in ("pc", "autoencoder") and len(self.epochs) != len(self.images):
            raise ConfigError(f"epochs must have one number for each of images, {list(self.images)}.")
        for corruption in self.corruptions:
            find(corruption, CORRUPTIONS, "corruption")
        find(self.dataset, exported_classes(data, AbstractDataset), "data set")
        self.activation_function()
        built = self.built_algorithm()
        if self.keeps and not isinstance(built, algorithms.PC):
            name = self.algorithm.get("name")
            raise ConfigError(f"keep_states needs PC, but the algorithm is {name}: set keep_states=false.")
        self.built_solver()

    @property
    def keeps(self) -> bool:
        """Whether states go on from visit to visit; the rivals have none."""
        return self.method == "pc" and self.keep_states

    def names(self) -> dict[str, str]:
        dataset = find(self.dataset, exported_classes(data, AbstractDataset), "data set")
        sized = f"{NAMES[self.method]} {self.width}" if self.method in ("pc", "autoencoder") else NAMES[self.method]
        network = {"pc": "decoder", "autoencoder": "autoencoder"}.get(self.method, "images")
        return {
            "label": self.label or sized,
            "algorithm": str(self.algorithm.get("name")) if self.method == "pc" else NAMES[self.method],
            "network": network,
            "dataset": dataset.name,
        }

    def activation_function(self) -> Activation:
        return find(self.activation, ACTIVATIONS, "activation")

    def built_algorithm(self, updates: int = 1) -> AbstractAlgorithm:
        given = self.algorithm if self.method == "pc" else {"name": "BP"}
        members = exported_classes(algorithms, AbstractAlgorithm)
        return construct(given, members, "algorithm", optimiser=self.optimiser.build(updates))[0]

    def built_solver(self) -> tuple[AbstractSolver, AbstractCoordinates]:
        kind, members = CHOICES[AbstractSolver]
        solver = construct(self.solver, {n.lower(): m for n, m in members.items()}, kind)[0]
        where = find(self.coordinates, exported_classes(coordinates, AbstractCoordinates), "coordinates")
        return solver, where()

    def measure(self, stage: Stage) -> None:
        loaded = find(self.dataset, exported_classes(data, AbstractDataset), "data set")().load(download=self.download)
        order = np.random.default_rng(self.seed).permutation(len(loaded.train))
        raw = loaded.train.inputs[order].reshape(len(order), -1)
        if max(self.images) + self.controls > len(raw):
            most = len(raw) - self.controls
            raise ConfigError(f"images must be at most {most}, which leaves the controls, got {max(self.images)}.")
        stage.record.dataset, stage.record.test = loaded.label, {}
        side = loaded.train.inputs.shape[1]
        unseen = pixels(raw[len(raw) - self.controls :])
        curves: dict[str, list[tuple[float, float, float]]] = {name: [] for name in self.corruptions}
        for place, number in enumerate(self.images):
            stored = pixels(raw[:number])
            memory, network = self.memory(stage, stored, place)
            pictures = []
            for index, name in enumerate(self.corruptions):
                key = jax.random.fold_in(jax.random.key(self.seed), 100 + index)
                truth = stored[: self.cues]
                cues = CORRUPTIONS[name](truth, side, self.noise, key)
                with stage.timed("recall"):
                    path = [(done, cues.error(guess, truth), guess) for done, guess in memory(cues)]
                others = CORRUPTIONS[name](unseen, side, self.noise, key)
                *_, (_, guess) = memory(others)
                self.note(stage, name, number, path, float(jnp.mean(others.error(guess, unseen))), curves[name])
                if place == 0:
                    pictures.append((name, cues, path))
                    self.show_path(stage, name, number, path)
                    if network is not None and self.plain_steps:
                        self.show_plain(stage, name, network, cues, truth)
            if place == 0 and self.pictures:
                self.show_pictures(stage, stored, loaded.train.inputs.shape[1:], pictures)
        self.show_capacity(stage, curves)

    def memory(self, stage: Stage, stored: Float[Array, "n pixels"], place: int) -> tuple[Memory, Network | None]:
        """Return the memory of these images and, where it is a decoder, its network."""
        if self.method == "hopfield":
            return hopfield(stored, beta=self.beta, steps=self.steps), None
        if self.method == "nearest":
            return nearest(stored), None
        number, epochs = len(stored), self.epochs[place]
        batch_size = min(self.batch_size, number)
        each = self.built_algorithm(1).updates_per_batch()
        algorithm = self.built_algorithm(epochs * (number // batch_size) * each)
        network = self.network(stored)
        stage.record.parameters, stage.record.passes = count_parameters(network), algorithm.passes(network)
        nodes = [name for name in (network.input, network.output) if name is not None]
        learner: AbstractLearner = algorithm
        if self.keeps:
            assert isinstance(algorithm, algorithms.PC)
            learner = KeptStates(algorithm, lambda: dict.fromkeys(nodes, stored))
        state = fit(
            stage,
            learner,
            network,
            {"x": np.asarray(jnp.round(255 * stored), np.uint8), ROW: np.arange(number)},
            lambda rows, key: dict.fromkeys(nodes, pixels(rows["x"])) | ({ROW: rows[ROW]} if self.keeps else {}),
            epochs=epochs,
            batch_size=batch_size,
            seed=self.seed,
            part=f"{number} images",
            every=max(1, epochs // 4),  # a checkpoint holds all weights three times over
        )
        if self.method == "autoencoder":
            return autoencoder_loop(state.network, steps=self.steps), None
        solver, where = self.built_solver()
        return generative(state.network, solver=solver, steps=self.steps, coordinates=where), state.network

    def network(self, stored: Float[Array, "n pixels"]) -> Network:
        """Return the untrained network; the bias of its output is the mean of the stored images."""
        build = builders.decoder if self.method == "pc" else builders.autoencoder
        network = build(
            self.latent,
            stored.shape[1],
            hidden=(self.width, self.width),
            activation=self.activation_function(),
            key=jax.random.key(self.seed),
        )
        return eqx.tree_at(lambda n: n.term_list[-1].function.linear.bias, network, jnp.mean(stored, axis=0))

    def note(
        self,
        stage: Stage,
        name: str,
        number: int,
        path: list[tuple[int, Array, Array]],
        unseen: float,
        curve: list[tuple[float, float, float]],
    ) -> None:
        """Write what was measured for one corruption and one number of images."""
        assert stage.record.test is not None
        errors = path[-1][1]
        recalled = float(jnp.mean(errors < self.threshold))
        curve.append((float(number), recalled, float(jnp.mean(errors))))
        complete = [done for done, errors, _ in path if bool(jnp.all(errors < self.threshold))]
        place = f"{name}, N = {number}"
        measures = {
            f"recalled from {place}": recalled,
            f"mse from {place}": float(jnp.mean(errors)),
            f"largest mse from {place}": float(jnp.max(errors)),
            f"mse of images never stored from {place}": unseen,
            f"steps from {place}": float(path[-1][0]),
        }
        if complete:
            measures[f"steps until all are recalled from {place}"] = float(complete[0])
        stage.record.test |= measures
        first, last = self.images[0], self.images[-1]
        stage.record.shown = [
            f"recalled from {c}, N = {n}" for n in dict.fromkeys((first, last)) for c in self.corruptions
        ]

    def cost_of_a_step(self) -> float:
        """Return how many plain gradient steps have as many passes as one step."""
        return self.built_solver()[0].passes / 2 if self.method == "pc" else 1.0

    def show_path(self, stage: Stage, name: str, number: int, path: list[tuple[int, Array, Array]]) -> None:
        cost = self.cost_of_a_step()
        line = {"x": [done * cost for done, *_ in path], "y": [float(jnp.mean(errors)) for _, errors, _ in path]}
        self._line(stage, f"During recall from {name}, N = {number}", "cost (gradient steps, 2 passes each)", "", line)

    def show_plain(self, stage: Stage, name: str, network: Network, cues: Cues, truth: Array) -> None:
        """Take plain gradient steps, as published, and show the error over them beside the solver's."""
        assert stage.record.test is not None
        few = Cues(*(part[:8] for part in cues))
        plain = generative(
            network,
            solver=Gradient(self.plain_rate),
            steps=self.plain_steps,
            coordinates=coordinates.StateCoordinates(),
            initial=Zero(),
            chunk=max(1, self.plain_steps // 20),
        )
        line: dict[str, list[float]] = {"x": [], "y": []}
        with stage.timed("plain"), stage.progress(f"plain gradient from {name}", 20) as bar:
            for done, guess in plain(few):
                line["x"].append(float(done))
                line["y"].append(float(jnp.mean(few.error(guess, truth[:8]))))
                bar.advance(note=f"mse {line['y'][-1]:.4f}")
        stage.record.test[f"mse after {self.plain_steps} plain gradient steps from {name}"] = line["y"][-1]
        title = f"During recall from {name}, N = {self.images[0]}"
        self._line(stage, title, "cost (gradient steps, 2 passes each)", "plain gradient on states", line)

    def _line(self, stage: Stage, title: str, x: str, name: str, line: dict[str, list[float]]) -> None:
        """Add a line to the chart of that title, which it makes where there is none."""
        chart = next((c for c in stage.record.charts if c.title == title), None)
        if chart is None:
            reading = f"Mean squared error of pixels that are not given; an image is recalled below {self.threshold:g}."
            chart = Chart(title, x, "mean squared error", {}, log="xy", reading=reading)
            stage.record.charts.append(chart)
        chart.lines[name] = line

    def show_capacity(self, stage: Stage, curves: dict[str, list[tuple[float, float, float]]]) -> None:
        texts = (("Images recalled", "fraction recalled", "x", 1), ("Error of recall", "mean squared error", "xy", 2))
        reading = f"An image is recalled where the error of the pixels that are not given is below {self.threshold:g}."
        for title, y, log, place in texts:
            lines = {
                name: {"x": [p[0] for p in points], "y": [p[place] for p in points]} for name, points in curves.items()
            }
            stage.record.charts.append(Chart(title, "images stored", y, lines, log=log, reading=reading))

    def show_pictures(self, stage: Stage, stored: Array, shape: tuple[int, ...], pictures: list[Picture]) -> None:
        """Keep originals, cues and what was recalled, and a film of the first image over the steps."""
        count = min(self.pictures, len(stored))
        rows = {"stored": stored}
        for name, cues, path in pictures:
            rows |= {f"{name}: cue": cues.values, f"{name}: recalled": path[-1][2]}
        times = sorted({round(t) for t in np.geomspace(1, max(len(path) for *_, path in pictures), FILM - 1)})
        films = [[cues.values, *(path[min(t, len(path)) - 1][2] for t in times)] for _, cues, path in pictures]
        stage.keep_arrays(
            {
                "recall_images": _kept([row[:count] for row in rows.values()], shape),
                "recall_film": _kept([jnp.stack([frame[0] for frame in film]) for film in films], shape),
            }
        )
        title, steps = f"Recall, N = {self.images[0]}", ", ".join(str(t) for t in times)
        reading = "Each column is one stored image, at half its size."
        stage.record.images += [
            Images(title, "recall_images", list(rows), reading),
            Images(
                f"During recall, N = {self.images[0]}",
                "recall_film",
                [name for name, *_ in pictures],
                f"The first stored image: the cue, then what is recalled after {steps} steps.",
            ),
        ]


def _kept(rows: list[Array], shape: tuple[int, ...]) -> np.ndarray:
    """Return rows of images at half their size, in few levels: they take a tenth of the place."""
    small = halved(np.stack([np.asarray(row).reshape(-1, *shape) for row in rows]))
    return np.round(small / (255 / LEVELS)).astype(np.uint8) * (255 // LEVELS)


def pixels(raw: Any) -> Float[Array, "n pixels"]:
    """Return images of 256 levels as numbers in [0, 1]."""
    return jnp.asarray(raw).reshape(len(raw), -1).astype(float) / 255
