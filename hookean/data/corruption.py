"""Images spoiled on purpose: noise, rotation, blur, and grey copies of another size; raw uint8 in and out."""

import numpy as np
from jaxtyping import UInt8

from .dataset import Split


def with_noise(split: Split, deviation: int | float, *, seed: int) -> Split:
    """Return the images with Gaussian noise of this standard deviation, on the scale 0..1, clipped to what uint8 holds.

    Arguments:
        seed: of the noise; the same seed gives the same images.
    """
    noise = np.random.default_rng(seed).normal(0, 255 * deviation, split.inputs.shape)
    return _replaced(split, split.inputs + noise)


def rotated(split: Split, degrees: int | float) -> Split:
    """Return the images turned counter-clockwise about their centre; what comes in from outside is black."""
    from scipy.ndimage import rotate

    turned = rotate(split.inputs.astype(np.float32), degrees, axes=(1, 2), reshape=False, order=1)
    return _replaced(split, turned)


def blurred(split: Split, deviation: int | float) -> Split:
    """Return the images under a Gaussian blur of this standard deviation in pixels."""
    from scipy.ndimage import gaussian_filter

    return _replaced(split, gaussian_filter(split.inputs.astype(np.float32), (0, deviation, deviation, 0)))


def grey(split: Split, height: int, width: int) -> Split:
    """Return grey copies of this size: luminance (ITU-R 601), then the largest centred square, resized bilinearly."""
    from PIL import Image

    images = split.inputs
    if images.shape[3] == 3:
        images = np.round(images @ np.array([0.299, 0.587, 0.114]))[..., None].astype(np.uint8)
    side = min(images.shape[1:3])
    top, left = ((length - side) // 2 for length in images.shape[1:3])
    square = images[:, top : top + side, left : left + side, 0]
    if square.shape[1:] != (height, width):
        sized = [Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR) for image in square]
        square = np.stack([np.asarray(image) for image in sized])
    return Split(square[..., None], split.labels)


def _replaced(split: Split, images: np.ndarray) -> Split:
    clipped: UInt8[np.ndarray, "n h w c"] = np.clip(np.round(images), 0, 255).astype(np.uint8)
    return Split(clipped, split.labels)
