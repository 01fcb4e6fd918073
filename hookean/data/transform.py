"""What happens to a sample between memory and network: crop, flip, normalise; in `jit`, on the device."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, UInt8

Image: TypeAlias = UInt8[Array | np.ndarray, "h w c"]
Batch: TypeAlias = UInt8[Array | np.ndarray, "b h w c"] | Float[Array | np.ndarray, "b f"]


@dataclass(frozen=True)
class Transform:
    r"""Random crop and flip of raw images, then $(x/255 - \mu_c)/\sigma_c$; identity for features.

    Frozen and hashable, without arrays: close over it in `jit` or pass it as a static argument.

    Arguments:
        mean: mean of each channel, on the scale 0..1. Empty (default) for features, which pass unchanged.
        std: standard deviation of each channel, same length and scale.
        flip: probability of a left-right flip in training (default 0: none).
        crop: side of the square that is cut out, in pixels (default None: whole image). Training cuts at a
            random place of the padded image, evaluation in the centre of the unpadded one.
        padding: pixels of raw value 0 (black, not the mean) around the image before a training crop.

    Raises:
        ValueError: if the settings contradict each other.
    """

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    flip: float = 0.0
    crop: int | None = None
    padding: int = 0

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std):
            raise ValueError(
                f"`mean` and `std` must have one entry per channel each; got {len(self.mean)} and {len(self.std)}."
            )
        if any(not s > 0 for s in self.std):
            raise ValueError(f"`std` must be positive in every channel; got {self.std}.")
        if not 0 <= self.flip <= 1:
            raise ValueError(f"`flip` must be a probability between 0 and 1; got {self.flip}.")
        if self.crop is not None and self.crop < 1:
            raise ValueError(f"`crop` must be at least 1 pixel, or None for no crop; got {self.crop}.")
        if self.padding < 0 or (self.padding and self.crop is None):
            raise ValueError(
                f"`padding` must be 0 or more, and 0 without `crop`; got padding {self.padding}, crop {self.crop}."
            )
        if not self.mean and (self.flip or self.crop is not None):
            raise ValueError("`flip` and `crop` are for images; give `mean` and `std` per channel as well.")

    def unit(self) -> "Transform":
        """Return the transform that leaves pixels between 0 and 1; for features it is the same one."""
        return dataclasses.replace(self, mean=(0.0,) * len(self.mean), std=(1.0,) * len(self.std))

    @property
    def augments(self) -> bool:
        """Whether training is random. If not, `train` is `evaluate`, draws nothing and costs no more."""
        return self.flip > 0 or self.crop is not None

    def sample_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Return the shape of one sample after the transform: (h, w, c) for an image.

        Raises:
            ValueError: if a sample of this shape does not fit the transform.
        """
        if not self.mean:
            if len(shape) != 1:
                raise ValueError(f"a transform without `mean` is for features (f,); got shape {tuple(shape)}.")
            return tuple(shape)
        if len(shape) != 3 or shape[2] != len(self.mean):
            raise ValueError(
                f"this transform is for images (h, w, {len(self.mean)}), one channel per entry of `mean`; "
                f"got shape {tuple(shape)}."
            )
        height, width, channels = shape
        if self.crop is None:
            return height, width, channels
        if self.crop > min(height, width):
            raise ValueError(f"`crop` must fit the image; got crop {self.crop} for {height} x {width} pixels.")
        return self.crop, self.crop, channels

    def train(self, images: Batch, *, key: PRNGKeyArray) -> Float[Array, "b ..."]:
        """Return a training batch, [b, h, w, c] float32 (features: [b, f]); each sample draws for itself."""
        if not self.augments:
            return self.evaluate(images)
        return jax.vmap(self.train_sample)(images, key=jr.split(key, images.shape[0]))

    def train_sample(self, image: Image, *, key: PRNGKeyArray) -> Float[Array, "height width c"]:
        """Return one sample for training, [h, w, c] float32; a function of the image and the key alone."""
        self.sample_shape(image.shape)
        image = jnp.asarray(image)
        crop_key, flip_key = jr.split(key)
        if self.crop is not None:
            border = (self.padding, self.padding)
            image = jnp.pad(image, (border, border, (0, 0)))
            places = jnp.array([side - self.crop + 1 for side in image.shape[:2]])
            top, left = jr.randint(crop_key, (2,), 0, places)
            image = jax.lax.dynamic_slice(image, (top, left, 0), (self.crop, self.crop, image.shape[2]))
        if self.flip > 0:
            image = jnp.where(jr.bernoulli(flip_key, self.flip), image[:, ::-1], image)
        return self._normalise(image)

    def evaluate(self, images: Batch) -> Float[Array, "b ..."]:
        """Return a batch for evaluation, [b, h, w, c] float32 (features: [b, f]); nothing is random."""
        self.sample_shape(images.shape[1:])
        images = jnp.asarray(images)
        if not self.mean:
            return images.astype(jnp.float32)
        if self.crop is not None:
            # Half a pixel rounds to the even side, as torchvision's centre crop does.
            top, left = (round((side - self.crop) / 2) for side in images.shape[1:3])
            images = images[:, top : top + self.crop, left : left + self.crop]
        return self._normalise(images)

    def _normalise(self, images: UInt8[Array, "*b h w c"]) -> Float[Array, "*b h w c"]:
        mean, std = jnp.asarray(self.mean, jnp.float32), jnp.asarray(self.std, jnp.float32)
        return (images.astype(jnp.float32) / 255 - mean) / std
