"""A small classifier of images whose features stand behind Fréchet distance and inception score."""

import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from ..algorithms.bp import BP
from ..core.density import Categorical
from ..core.layers import Convolution, Dense, identity
from ..core.network import Network
from ..core.term import Prediction
from ..data.batches import epoch_order
from ..data.dataset import Data
from ..data.layout import cache_folder
from ..record import RecordError
from . import checkpoint
from .experiment import Stage
from .optimiser import Optimiser

#: What a stored judge depends on. Batches of 100, three epochs: 98.5 % on MNIST in a minute on one core.
SETTINGS: dict[str, Any] = {"channels": (8, 16), "features": 64, "epochs": 3, "batch_size": 100, "rate": 2e-3}
#: Images that the judge looks at in one call.
CHUNK = 500


def network(shape: tuple[int, ...], classes: int) -> Network:
    """Return the judge before training: two 3x3 convolutions with pooling, features, classes."""
    height, width, channels = shape
    first, second = SETTINGS["channels"]
    k = jax.random.split(jax.random.key(0), 4)
    size = SETTINGS["features"]
    nodes = {
        "x": shape,
        "h1": (height // 2, width // 2, first),
        "h2": (height // 4, width // 4, second),
        "features": size,
        "y": classes,
    }
    flat = (height // 4) * (width // 4) * second
    terms = [
        Prediction("h1", "x", Convolution(channels, first, jax.nn.relu, padding=1, pool=True, key=k[0])),
        Prediction("h2", "h1", Convolution(first, second, jax.nn.relu, padding=1, pool=True, key=k[1])),
        Prediction("features", "h2", Dense(flat, size, jax.nn.relu, key=k[2])),
        Prediction("y", "features", Dense(size, classes, identity, key=k[3]), Categorical()),
    ]
    return Network(nodes, terms, input="x", output="y")


class Judge:
    """A trained classifier: features and class probabilities of images, and its own accuracy on the test images.

    The judge is trained once for a data set and stored in the cache folder, so that all runs have the same one.
    """

    def __init__(self, stage: Stage, data: Data, *, epochs: int = SETTINGS["epochs"]):
        self.transform = data.transform
        images, labels = data.train.inputs, data.train.labels
        fresh = network(data.shape, data.number_of_classes)
        digest = hashlib.sha256(images.tobytes() + json.dumps(SETTINGS | {"epochs": epochs}).encode()).hexdigest()[:16]
        path = cache_folder() / "judges" / f"{data.name.lower()}-{digest}.safetensors"
        stored = _stored(path, fresh)
        if stored is None:
            with stage.timed("judge"):
                stored = self._trained(stage, fresh, images, labels, epochs)
            with contextlib.suppress(RecordError):  # a cache that cannot be written costs time and nothing else
                checkpoint.save(path, eqx.filter(stored, eqx.is_array), {})
        self.network: Network = stored
        self.view = eqx.filter_jit(eqx.filter_vmap(self._view))
        found = self(data.test.inputs)[1].argmax(axis=1)
        self.accuracy = float(np.mean(found == data.test.labels))

    def __call__(
        self, images: UInt8[np.ndarray, "n h w c"]
    ) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "n k"]]:
        """Return (features, class probabilities) of raw images."""
        parts = [self.view(jnp.asarray(images[i : i + CHUNK])) for i in range(0, len(images), CHUNK)]
        features, probabilities = zip(*parts, strict=True)
        return np.concatenate(features).astype(float), np.concatenate(probabilities).astype(float)

    def _view(self, image: UInt8[Array, "h w c"]) -> tuple[Array, Array]:
        states = self.network.forward({"x": self.transform.evaluate(image[None])[0].astype(float)})
        return states["features"], states["y"]

    def _trained(self, stage: Stage, fresh: Network, images: Any, labels: Any, epochs: int) -> Network:
        size = SETTINGS["batch_size"]
        rule = Optimiser(name="adam", rate=SETTINGS["rate"]).build(epochs * (len(labels) // size))
        algorithm = BP(optimiser=rule)
        arrays, static = eqx.partition(algorithm.init(fresh, key=jax.random.key(0)), eqx.is_array)
        inputs, targets = jax.device_put((images, labels))

        @jax.jit
        def step(arrays: Any, indices: Any) -> Any:
            x = self.transform.train(inputs[indices], key=jax.random.key(0)).astype(float)
            batch = {"x": x, "y": jax.nn.one_hot(targets[indices], fresh.shapes["y"][0])}
            return eqx.filter(
                algorithm.step(eqx.combine(arrays, static), batch, key=jax.random.key(0))[0], eqx.is_array
            )

        with stage.progress("training the judge", epochs * (len(labels) // size)) as bar:
            for epoch in range(epochs):
                for indices in epoch_order(len(labels), size, seed=0, epoch=epoch):
                    arrays = step(arrays, indices)
                    bar.advance()
        return eqx.combine(arrays, static).network


def _stored(path: Path, fresh: Network) -> Network | None:
    """Return the judge that lies in the cache folder; None where there is none that can be read."""
    if not path.exists():
        return None
    arrays, static = eqx.partition(fresh, eqx.is_array)
    try:
        stored, _ = checkpoint.load(path, arrays)
    except checkpoint.CheckpointError:
        return None
    return eqx.combine(jax.tree.map(jnp.asarray, stored), static)
