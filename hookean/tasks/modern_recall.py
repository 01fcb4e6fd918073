"""Task `modern_recall`: complete stored images from a half of each with a modern Hopfield network."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pydantic
from jaxtyping import Array, Bool, Float, UInt8

from .. import data
from ..classical.modern_hopfield import ModernHopfield, by_distance
from ..data.dataset import AbstractDataset
from ..record import Chart, Images
from ..registry import exported_classes, find
from .build import ConfigError
from .experiment import AbstractExperiment, Stage

#: Images that are shown, at half their size.
SHOWN = 6
#: Queries that are answered at once.
QUERIES = 500


class ModernRecall(AbstractExperiment, frozen=True):
    r"""Store images, show the upper half of each, and count how many lower halves come back.

    One update of a modern Hopfield network: attention over the stored images, compared by a similarity, with the images
    as values. The inverse temperature is chosen on other images of the same number and never on those that are counted;
    of equally good ones the smallest is taken.

    Attributes:
        dataset: name of a set of images.
        images: how many are stored and recalled; as many others choose the inverse temperature.
        similarity: `dot`: the dot product of raw pixels, unknown ones at 0. `centred`: images less their mean image,
            each scaled to norm 1; the unknown half of the cue is 0, the mean. `cosine`: the same over the known half
            alone. `distance`: $-\frac12$ squared distance over the known half, whose update is the conditional mean
            of a mixture of Gaussians.
        betas: inverse temperatures to choose from.
        correct: an image counts as recalled if its unknown half has a mean squared error below this, pixels in [0, 1].
        sizes: numbers of stored images at which recall is measured too, with the same inverse temperature.
        noises: standard deviations of Gaussian noise on the known half at which recall is measured too.
    """

    name: ClassVar[str] = "modern_recall"
    smoke: ClassVar[Mapping[str, Any]] = {"dataset": "digits", "images": 50, "sizes": [20], "noises": [0.1]}
    dataset: str = "tiny_imagenet"
    images: int = pydantic.Field(default=1000, ge=1)
    similarity: Literal["dot", "centred", "cosine", "distance"] = "centred"
    betas: tuple[pydantic.PositiveFloat, ...] = (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0, 10_000.0)
    correct: float = pydantic.Field(default=0.005, gt=0)
    sizes: tuple[pydantic.PositiveInt, ...] = (100, 300, 1000, 3000)
    noises: tuple[pydantic.NonNegativeFloat, ...] = (0.05, 0.1, 0.2, 0.4, 0.8)

    def names(self) -> dict[str, str]:
        dataset = find(self.dataset, exported_classes(data, AbstractDataset), "data set").__name__
        return {
            "label": self.label or self.similarity,
            "algorithm": "one update",
            "network": f"modern-Hopfield-{self.images}",
            "dataset": dataset,
        }

    def measure(self, stage: Stage) -> None:
        with stage.timed("data"):
            stored, others, shape = self.pictures(stage)
        known = jnp.arange(stored.shape[1]) < stored.shape[1] // 2
        first = stored[: self.images]
        with stage.timed("evaluate"):
            held_out = [self.recalled(others, others, known, beta)[0] for beta in self.betas]
            beta = self.betas[int(np.argmax(held_out))]
            share, error, ends = self.recalled(first, first, known, beta)
            sizes = [size for size in self.sizes if size <= len(stored)]
            by_size = [self.recalled(stored[:n], stored[: min(n, self.images)], known, beta)[0] for n in sizes]
            by_noise = [self.recalled(first, first, known, beta, noise)[0] for noise in (0.0, *self.noises)]
        stage.record.test = {
            "recalled, %": 100 * share,
            "median squared error of the unknown half": error,
            "inverse temperature": beta,
            "recalled of the held-out images, %": 100 * max(held_out),
        }
        stage.record.shown = ["recalled, %", "median squared error of the unknown half", "inverse temperature"]
        stage.record.parameters = int(first.size)
        stage.record.charts = [
            _chart("Images recalled from their upper half", "stored images", sizes, by_size, "x"),
            _chart("Recall from a noisy half", "standard deviation of the noise", (0.0, *self.noises), by_noise),
            _chart("Choice on other images", "inverse temperature", self.betas, held_out, "x"),
        ]
        some = first[:SHOWN]
        warm = [b for b in sorted({min(self.betas), beta / 100}) if min(self.betas) <= b < beta]
        rows = {"stored": some, "cue": jnp.where(known, some, 0.5)}
        rows |= {f"recalled at {b:g}": self.recalled(first, some, known, b)[2] for b in warm}
        rows[f"recalled at {beta:g}"] = ends[:SHOWN]
        stage.keep_arrays({"recalled": halved(np.stack([np.asarray(r).reshape(-1, *shape) for r in rows.values()]))})
        reading = "At half their size. The lowest inverse temperature returns the mean of all images, the next of some."
        stage.record.images = [Images("Recall from the upper half", "recalled", list(rows), reading)]

    def pictures(self, stage: Stage) -> tuple[Float[Array, "n d"], Float[Array, "m d"], tuple[int, ...]]:
        """Return images to store, others to choose on (pixels in [0, 1], in a fixed order), and the shape of one."""
        loaded = find(self.dataset, exported_classes(data, AbstractDataset), "data set")().load(download=self.download)
        raw = loaded.train.inputs
        if raw.dtype != np.uint8:
            raise ConfigError(f"dataset must hold images; {loaded.name} does not.")
        if len(raw) < 2 * self.images:
            raise ConfigError(f"images must be at most half of the {len(raw)} of {loaded.label}, got {self.images}.")
        stage.record.dataset = loaded.label
        order = np.random.default_rng(self.seed).permutation(len(raw))
        most = max([self.images, *(n for n in self.sizes if n <= len(raw) - self.images)])
        return flat(raw[order[self.images : self.images + most]]), flat(raw[order[: self.images]]), raw.shape[1:]

    def recalled(
        self,
        stored: Float[Array, "n d"],
        shown: Float[Array, "m d"],
        known: Bool[Array, "d"],
        beta: float,
        noise: float = 0.0,
    ) -> tuple[float, float, Float[Array, "m d"]]:
        """Return (share recalled, median squared error of the unknown half, what came back)."""
        ends = []
        for start in range(0, len(shown), QUERIES):
            key = jax.random.fold_in(jax.random.key(self.seed), start)
            part = shown[start : start + QUERIES]
            cue = jnp.where(known, part + noise * jax.random.normal(key, part.shape), 0)
            ends.append(answer(self.similarity, stored, cue, known, jnp.asarray(beta)))
        back = jnp.concatenate(ends)
        errors = jnp.sum(jnp.where(known, 0, jnp.square(back - shown)), axis=1) / jnp.sum(~known)
        return float(jnp.mean(errors < self.correct)), float(jnp.median(errors)), back


@eqx.filter_jit
def answer(
    similarity: str,
    stored: Float[Array, "n d"],
    cues: Float[Array, "m d"],
    known: Bool[Array, "d"],
    beta: Float[Array, ""],
) -> Float[Array, "m d"]:
    """Return the stored images averaged under the attention of each cue to them."""
    if similarity == "distance":
        memory = by_distance(stored, beta, known)
        return jax.vmap(lambda cue: memory.attention(cue, known))(cues) @ stored
    keys, queries = stored, cues
    if similarity != "dot":
        mean = jnp.mean(stored, axis=0)
        compared = known if similarity == "cosine" else jnp.ones_like(known)
        keys = jax.vmap(_unit)(jnp.where(compared, stored - mean, 0))
        queries = jax.vmap(_unit)(jnp.where(known, cues - mean, 0))
    memory = ModernHopfield(keys, beta)
    return jax.vmap(memory.attention)(queries) @ stored


def _unit(vector: Array) -> Array:
    return vector / jnp.maximum(jnp.linalg.norm(vector), 1e-6)


def _chart(title: str, x: str, places: Any, shares: list[float], log: str = "") -> Chart:
    line = {"x": [float(place) for place in places], "y": [100 * share for share in shares]}
    return Chart(title, x, "recalled, %", {"": line}, log)


def flat(raw: UInt8[np.ndarray, "n h w c"]) -> Float[Array, "n d"]:
    """Return images as rows of pixels in [0, 1]."""
    return jnp.asarray(raw.reshape(len(raw), -1), jnp.result_type(float)) / 255


def halved(rows: Float[np.ndarray, "rows columns h w c"]) -> UInt8[np.ndarray, "rows columns ..."]:
    """Return images at half their size, as grey levels or colours."""
    r, n, h, w, c = rows.shape
    small = rows[:, :, : h // 2 * 2, : w // 2 * 2].reshape(r, n, h // 2, 2, w // 2, 2, c).mean(axis=(3, 5))
    levels = np.round(255 * np.clip(small, 0, 1)).astype(np.uint8)
    return levels[..., 0] if c == 1 else levels
