"""Decoded images on disk, so that a data set is decoded once: best effort, atomic, checked when read."""

import logging
import tempfile
from pathlib import Path

import numpy as np
from jaxtyping import Int32, UInt8

from .layout import cache_folder

log = logging.getLogger(__name__)

# Enters the name of every cached file: raise it when what is stored or how it is decoded changes.
FORMAT = 1


def read(key: str) -> tuple[UInt8[np.ndarray, "n h w c"], Int32[np.ndarray, " n"], bool] | None:
    """Return images, labels and whether any image was JPEG; None if absent or damaged (checked by CRC-32)."""
    try:
        # Opened here, as NumPy leaves a damaged archive open.
        with _path(key).open("rb") as file, np.load(file, allow_pickle=False) as stored:
            images, labels, jpeg = stored["images"], stored["labels"], bool(stored["jpeg"])
    except FileNotFoundError:
        return None
    # Damage shows as one of many exceptions of zipfile, zlib and NumPy, and none of them may stop a load.
    except Exception as error:
        log.warning("the cached images %s cannot be read and are decoded again: %s", key, error)
        return None
    if images.dtype != np.uint8 or images.ndim != 4 or labels.dtype != np.int32 or len(images) != len(labels):
        log.warning("the cached images %s are not as expected and are decoded again", key)
        return None
    return images, labels, jpeg


def write(key: str, images: UInt8[np.ndarray, "n h w c"], labels: Int32[np.ndarray, " n"], jpeg: bool) -> None:
    """Store decoded images; a full disk or a read-only folder is logged and otherwise without consequence."""
    temporary = None
    try:
        path = _path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Written beside its place and then moved: a reader sees a whole file or none.
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
            temporary = Path(file.name)
            np.savez(file, images=images, labels=labels, jpeg=np.array(jpeg))
        temporary.replace(path)
    except (OSError, RuntimeError) as error:  # RuntimeError: no home folder
        log.warning("decoded images are not cached (%s); set HOOKEAN_CACHE to a folder that can be written", error)
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _path(key: str) -> Path:
    return cache_folder() / "images" / f"{key}-{FORMAT}.npz"
