"""Task `reconstruction`: decoders that infer their latent against autoencoders that compute it."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pydantic
from jaxtyping import Array, Float

from .. import algorithms, data
from ..algorithms.contract import AbstractAlgorithm, TrainState, forward_outputs, require_output
from ..core import builders
from ..core.initialise import AbstractInitialiser
from ..core.network import Network
from ..core.parameters import count_parameters
from ..data.batches import evaluation_order
from ..data.dataset import AbstractDataset
from ..data.split import subset, validation_split
from ..inference.relax import relax
from ..inference.solver import AbstractSolver
from ..record import Chart, Images
from ..registry import exported_classes, exported_functions, find
from .build import ConfigError, construct, resolve
from .contract import folder_name
from .experiment import AbstractExperiment, Stage
from .fit import fit
from .optimiser import Optimiser

#: Samples of an evaluation batch.
SIZE = 500


class Reconstruction(AbstractExperiment, frozen=True):
    """Train a decoder or an autoencoder on images in [0, 1], reconstruct held-out ones, measure the squared error.

    A decoder has a free latent: with the image clamped, the algorithm's own solver, steps and first states infer it,
    and a forward pass from the latent alone gives the reconstruction. An autoencoder reconstructs by a forward pass.

    Attributes:
        dataset: name of the data set; images keep their size, are not augmented and not normalised.
        network: {"name": "decoder" or "autoencoder", options of the builder}.
        latent: number of latent units, or (height, width, channels) for convolutions.
        algorithm: {"name": ..., options}; a decoder needs one with inference (PC, IPC), an autoencoder takes any.
        optimiser: the weight rule (default: constant rate, as published).
        epochs, batch_size: how long, and how many images a step (defaults: 30 and 200, as published).
        validation: held-out images of the training split, for the curve over epochs; the same for every seed.
        subset: use so many images of the training split only; None takes all.
        checkpoint: write a checkpoint every so many epochs.
        pictures: number of test images whose reconstructions are kept.
    """

    name: ClassVar[str] = "reconstruction"
    smoke: ClassVar[Mapping[str, Any]] = {
        "dataset": "digits",
        "network": {"name": "decoder", "hidden": [16, 12]},
        "latent": [8],
        "epochs": 2,
        "validation": 100,
        "batch_size": 100,
    }
    dataset: str = "mnist"
    network: dict[str, Any] = pydantic.Field(default={"name": "decoder"})
    latent: tuple[int, ...] = pydantic.Field(default=(64,), min_length=1, max_length=3)
    algorithm: dict[str, Any] = pydantic.Field(default={"name": "PC", "steps": 20, "initial": "Zero"})
    optimiser: Optimiser = Optimiser(schedule="constant")
    epochs: int = pydantic.Field(default=30, ge=1)
    batch_size: int = pydantic.Field(default=200, ge=1)
    validation: int = pydantic.Field(default=5000, ge=1)
    subset: int | None = pydantic.Field(default=None, ge=1)
    checkpoint: int = pydantic.Field(default=1, ge=1)
    pictures: int = pydantic.Field(default=0, ge=0)

    def check(self) -> None:
        self.names()
        name = str(self.network.get("name"))
        if name not in ("decoder", "autoencoder"):
            raise ConfigError(f"network must be decoder or autoencoder, got '{name}'.")
        if len(self.latent) == 2:
            raise ConfigError(f"latent must be one number, or height, width and channels, got {list(self.latent)}.")
        inferring = hasattr(self.built_algorithm(1), "solver")
        if name == "decoder" and not inferring:
            raise ConfigError("network: a decoder has a free latent, which the algorithm must infer: use PC or IPC.")

    def names(self) -> dict[str, str]:
        dataset = find(self.dataset, exported_classes(data, AbstractDataset), "data set")
        rule: Any = resolve(self.algorithm, exported_classes(algorithms, AbstractAlgorithm), "algorithm")[0]
        network = str(self.network.get("name"))
        named = rule.label if network == "decoder" else f"{rule.label} autoencoder"
        return {
            "label": self.label or named,
            "algorithm": rule.__name__,
            "network": network,
            "dataset": dataset.name,
        }

    def cell(self) -> tuple[str, ...]:
        names = self.names()
        return names["dataset"].lower(), folder_name(names["label"]), f"seed-{self.seed}"

    def built_algorithm(self, updates: int) -> AbstractAlgorithm:
        members = exported_classes(algorithms, AbstractAlgorithm)
        return construct(self.algorithm, members, "algorithm", optimiser=self.optimiser.build(updates))[0]

    def measure(self, stage: Stage) -> None:
        loaded = find(self.dataset, exported_classes(data, AbstractDataset), "data set")().load(download=self.download)
        if loaded.train.inputs.ndim != 4:
            raise ConfigError(f"dataset must hold images, got {loaded.label} with features.")
        try:
            whole = loaded.train if self.subset is None else subset(loaded.train, self.subset, 0)
            train, valid = validation_split(whole, size=self.validation, seed=0)
        except ValueError as error:
            raise ConfigError(f"subset or validation: {error}") from error
        steps = self.epochs * (len(train) // self.batch_size)
        algorithm = self.built_algorithm(steps * self.built_algorithm(1).updates_per_batch())
        network = self.built_network(train.inputs.shape[1:])
        record = stage.record
        record.dataset, record.parameters = loaded.label, count_parameters(network)
        record.passes = algorithm.passes(network)
        look = reconstructor(network, algorithm)

        def after(state: TrainState, epoch: int) -> dict[str, Any]:
            del epoch
            with stage.timed("evaluate"):
                return {"valid": {"mse": squared_error(look, state.network, valid.inputs)}}

        nodes = [name for name in (network.input, network.output) if name is not None]
        shape = network.shapes[require_output(network)]
        state = fit(
            stage,
            algorithm,
            network,
            {"x": train.inputs},
            lambda rows, key: dict.fromkeys(nodes, unit(rows["x"], shape)),
            epochs=self.epochs,
            batch_size=self.batch_size,
            seed=self.seed,
            after=after,
            every=self.checkpoint,
        )
        with stage.timed("evaluate"):
            record.test = {"mse x 1000": 1000 * squared_error(look, state.network, loaded.test.inputs)}
        record.shown = ["mse x 1000"]
        record.selected_epoch = self.epochs
        curve = {"x": [float(e["epoch"]) for e in record.history], "y": [e["valid"]["mse"] for e in record.history]}
        reading = "Mean squared error over all pixels of held-out images; pixels are in [0, 1]."
        record.charts = [Chart("Reconstruction", "epochs", "mean squared error", {"": curve}, log="y", reading=reading)]
        if self.pictures:
            self.keep_pictures(stage, look(state.network, loaded.test.inputs[: self.pictures]), loaded.test.inputs)

    def built_network(self, shape: tuple[int, ...]) -> Network:
        spatial = len(self.latent) == 3
        return construct(
            self.network,
            exported_functions(builders),
            "network",
            latent=self.latent if spatial else self.latent[0],
            outputs=shape if spatial else int(np.prod(shape)),
            key=jax.random.key(self.seed),
        )[0]

    def keep_pictures(self, stage: Stage, made: Array, raw: np.ndarray) -> None:
        """Keep images, reconstructions and errors."""
        shape = raw.shape[1:]
        originals = np.asarray(raw[: self.pictures]) / 255
        images = np.asarray(made).reshape(originals.shape)
        pairs = np.stack([originals, np.clip(images, 0, 1)])
        errors = np.mean(originals - images, axis=-1)[None]
        grey = shape[2] == 1
        stage.keep_arrays(
            {
                "reconstructions": np.round(255 * (pairs[..., 0] if grey else pairs)).astype(np.uint8),
                "reconstruction_errors": errors.astype(np.float16),
            }
        )
        reading = "The first images of the test split."
        over = "" if grey else ", mean over colours"
        stage.record.images = [
            Images("Input and reconstruction", "reconstructions", ["input", "reconstruction"], reading),
            Images("Error", "reconstruction_errors", [f"input minus reconstruction{over}"], reading, signed=True),
        ]


#: From a network and raw images to reconstructions in the shape of the output node.
Look = Callable[[Network, Any], Array]


def infer_and_decode(
    network: Network,
    images: Float[Array, "n *node"],
    *,
    solver: AbstractSolver,
    steps: int,
    initial: AbstractInitialiser,
) -> Float[Array, "n *node"]:
    """Return what a decoder makes of the latents that it infers with the images clamped.

    Only the latents, the nodes that nothing predicts, are kept; the reconstruction is a forward pass from them.

    Arguments:
        initial: first states of inference, such as `Zero()`, or `Given(states)` with a leading axis of images.
    """
    output = require_output(network)
    end = relax(network, {output: images}, solver=solver, steps=steps, initial=initial, key=jax.random.key(0))
    predicted = {term.target for term in network.terms.values() if hasattr(term, "target")}
    latents = {name: state for name, state in end.states.items() if name not in predicted}
    return jax.vmap(lambda clamps: network.forward(clamps)[output])(latents)


def reconstructor(network: Network, algorithm: AbstractAlgorithm) -> Look:
    """Return the compiled function from raw images to reconstructions."""
    shape = network.shapes[require_output(network)]

    def look(network: Network, raw: Any) -> Array:
        images = unit(raw, shape)
        if network.input is not None:
            return forward_outputs(network, {network.input: images})
        rule: Any = algorithm  # an algorithm with inference, as `check` has made sure
        return infer_and_decode(network, images, solver=rule.solver, steps=rule.steps, initial=rule.initial)

    return eqx.filter_jit(look)


def squared_error(look: Look, network: Network, raw: np.ndarray) -> float:
    """Return the mean squared error over all pixels of all images."""
    order, weights = evaluation_order(len(raw), min(SIZE, len(raw)))
    total = 0.0
    for indices, weight in zip(order, weights, strict=True):
        made = look(network, raw[indices])
        errors = np.mean((np.asarray(made).reshape(len(indices), -1) - unit(raw[indices], (-1,))) ** 2, axis=1)
        total += float(np.sum(errors * weight))
    return total / len(raw)


def unit(raw: Any, shape: tuple[int, ...]) -> Float[Array, "n ..."]:
    """Return images of 256 levels as numbers in [0, 1], each in the given shape."""
    return jnp.asarray(raw).reshape(len(raw), *shape).astype(float) / 255
