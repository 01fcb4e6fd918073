"""Memories side by side: each is cued with the same corrupted images and yields a guess after every step."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..algorithms.contract import forward_outputs
from ..classical.modern_hopfield import ModernHopfield
from ..core.coordinates import AbstractCoordinates
from ..core.initialise import AbstractInitialiser, Forward
from ..core.network import Network
from ..inference.recall import recall
from ..inference.solver import AbstractSolver


class Cues(NamedTuple):
    """Corrupted images.

    Attributes:
        values: what is given; missing pixels are 0.
        seen: 1 where a pixel says something about the image, 0 where it is missing.
        held: 1 where a pixel is the image's own and stays as it is; 0 where it is missing or noisy.
    """

    values: Float[Array, "n pixels"]
    seen: Float[Array, "n pixels"]
    held: Float[Array, "n pixels"]

    def filled(self, guess: Float[Array, "n pixels"]) -> Float[Array, "n pixels"]:
        """Return the guess, clipped to [0, 1], with the held pixels in their places."""
        return jnp.where(self.held > 0, self.values, jnp.clip(guess, 0, 1))

    def error(self, guess: Float[Array, "n pixels"], truth: Float[Array, "n pixels"]) -> Float[Array, "n"]:
        """Return the mean squared error of each image over the pixels that are not held."""
        return jnp.sum((1 - self.held) * (guess - truth) ** 2, axis=1) / jnp.sum(1 - self.held, axis=1)


#: From cues to (steps behind it, guess) after every step.
Memory = Callable[[Cues], Iterator[tuple[int, Float[Array, "n pixels"]]]]


def _noisy(images: Array, side: int, noise: float, key: PRNGKeyArray) -> Cues:
    del side
    everywhere = jnp.ones_like(images)
    return Cues(images + noise * jax.random.normal(key, images.shape), everywhere, 0 * everywhere)


def _masked(mask: Array, images: Array) -> Cues:
    held = jnp.broadcast_to(mask.astype(images.dtype), images.shape)
    return Cues(held * images, held, held)


def _lower(images: Array, side: int, noise: float, key: PRNGKeyArray) -> Cues:
    del noise, key
    return _masked(jnp.arange(images.shape[1]) < images.shape[1] // side * (side // 2), images)


def _pixels(images: Array, side: int, noise: float, key: PRNGKeyArray) -> Cues:
    del noise
    kept = jax.random.bernoulli(key, 0.1, (len(images), side * side))
    return _masked(jnp.repeat(kept, images.shape[1] // side**2, axis=1), images)


def _centre(images: Array, side: int, noise: float, key: PRNGKeyArray) -> Cues:
    del noise, key
    inside = jnp.abs(jnp.arange(side) - (side - 1) / 2) < side / 4
    square = inside[:, None] & inside[None, :]
    return _masked(~jnp.repeat(square.reshape(-1), images.shape[1] // side**2), images)


#: Name of a corruption -> function of (images [n, pixels], side, noise, key). Each image has its own noise and pixels.
CORRUPTIONS: dict[str, Callable[[Array, int, float, PRNGKeyArray], Cues]] = {
    "noise": _noisy,  # Gaussian, on every pixel
    "lower half": _lower,  # missing
    "centre": _centre,  # a square of half the side is missing
    "pixels": _pixels,  # nine of ten are missing, all channels of a pixel together
}


def generative(
    network: Network,
    *,
    solver: AbstractSolver,
    steps: int,
    coordinates: AbstractCoordinates,
    initial: AbstractInitialiser = Forward(),
    chunk: int = 1,
) -> Memory:
    """Return the memory of a decoder: infer the latents of what is seen, look at what they predict."""
    settings = {"solver": solver, "steps": steps, "coordinates": coordinates, "initial": initial, "chunk": chunk}

    def steps_of(cues: Cues) -> Iterator[tuple[int, Array]]:
        for done, predicted, _ in recall(network, cues.values, cues.seen, **settings):  # type: ignore[arg-type]
            yield done, cues.filled(predicted)

    return steps_of


def autoencoder_loop(network: Network, *, steps: int) -> Memory:
    r"""Return the memory of an autoencoder: $x \leftarrow f(x)$ with the held pixels in their places, to a fixed point.

    Source: Radhakrishnan, Belkin & Uhler (2020): overtrained autoencoders hold their training samples as attractors.
    """
    forward = eqx.filter_jit(lambda network, x: forward_outputs(network, {"x": x}))

    def steps_of(cues: Cues) -> Iterator[tuple[int, Array]]:
        guess = cues.values
        for done in range(1, steps + 1):
            new = cues.filled(forward(network, guess))
            yield done, new
            if float(jnp.max(jnp.abs(new - guess))) < 1e-4:  # a fixed point, far below what a threshold sees
                return
            guess = new

    return steps_of


def hopfield(images: Float[Array, "p pixels"], *, beta: float, steps: int) -> Memory:
    r"""Return the memory of a modern Hopfield network that compares what is seen by its distance.

    Noisy pixels move, held ones do not. With $\beta = 1/\sigma^2$ the first step is the mean of the stored images under
    Bayes' rule for noise of standard deviation $\sigma$: no memory of the same images has a smaller expected error.
    """

    @jax.jit
    def step(guess: Array, seen: Array, images: Array) -> Array:
        def update(guess: Array, seen: Array, offsets: Array) -> Array:
            return ModernHopfield(images, beta, offsets).update(guess, seen > 0)

        return jax.vmap(update)(guess, seen, _offsets(seen, images))

    def steps_of(cues: Cues) -> Iterator[tuple[int, Array]]:
        guess = cues.values
        for done in range(1, steps + 1):
            guess = cues.filled(step(guess, cues.seen, images))
            yield done, guess

    return steps_of


def nearest(images: Float[Array, "p pixels"]) -> Memory:
    """Return the memory that looks the images up: the one nearest to what is seen."""

    def steps_of(cues: Cues) -> Iterator[tuple[int, Array]]:
        similarity = (cues.seen * cues.values) @ images.T + _offsets(cues.seen, images)
        yield 1, cues.filled(images[jnp.argmax(similarity, axis=1)])

    return steps_of


def _offsets(seen: Float[Array, "n pixels"], images: Float[Array, "p pixels"]) -> Float[Array, "n p"]:
    """Return what makes a dot product the distance over what is seen, up to a part that all images share."""
    return -0.5 * seen @ (images**2).T
