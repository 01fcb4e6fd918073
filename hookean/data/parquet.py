"""The one loader of image sets in the public hub's Parquet layout: find, decode once, keep decoded."""

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int32, UInt8

from . import cache, hub
from .dataset import DataError, Split
from .layout import Files, Layout, download_folder, find

if TYPE_CHECKING:
    import pyarrow.parquet as pq

IMAGE_COLUMNS = ("image", "img")
MODES = {1: ("L",), 3: ("RGB", "L")}


@dataclass(frozen=True, eq=False)
class ImageSplits:
    """Both splits of an image set, decoded, and whether any image was stored as JPEG (which loses detail)."""

    train: Split
    test: Split
    jpeg: bool

    def label(self, name: str) -> str:
        """Return the name to print for a set of lossless originals: "CIFAR-10 (JPEG)" if these are not."""
        return f"{name} (JPEG)" if self.jpeg else name


def load_images(layout: Layout, *, root: Path | None = None, download: bool = False) -> ImageSplits:
    """Return both splits of an image set, downloaded first where that is allowed and needed.

    Arguments:
        layout: how the files are named.
        root: data root (default: see `hookean.data.layout.search_places`).
        download: whether the hub may be asked where there is no complete local copy (default False).

    Raises:
        DataError: if there is no copy, or a file is not what it must be.
    """
    files = _locate(layout, None if root is None else Path(root), download)
    train, train_jpeg = _read_split(files.train, layout)
    test, test_jpeg = _read_split(files.test, layout)
    return ImageSplits(train, test, train_jpeg or test_jpeg)


def _locate(layout: Layout, root: Path | None, download: bool) -> Files:
    try:
        return find(layout, root)
    except DataError:
        if not download:
            raise
    target = download_folder(root)
    hub.download(layout, target)
    return find(layout, target)


def _read_split(paths: tuple[Path, ...], layout: Layout) -> tuple[Split, bool]:
    how = {"channels": layout.channels, "label_column": layout.label_column, "side": layout.side}
    parts = [read_file(path, **how) for path in paths]  # type: ignore[arg-type]
    for path, (images, _, _) in zip(paths, parts, strict=True):
        if images.shape[1:] != parts[0][0].shape[1:]:
            raise DataError(
                f"{path}: images must have one size in all shards; got {_size(images)} pixels here and "
                f"{_size(parts[0][0])} in {paths[0].name}."
            )
    if len(parts) == 1:  # no second copy of what may be hundreds of megabytes
        return Split(parts[0][0], parts[0][1]), parts[0][2]
    images, labels, jpeg = zip(*parts, strict=True)
    return Split(np.concatenate(images), np.concatenate(labels)), any(jpeg)


def read_file(
    path: Path, *, channels: int, label_column: str = "label", side: int | None = None
) -> tuple[UInt8[np.ndarray, "n h w c"], Int32[np.ndarray, " n"], bool]:
    """Return images, labels and whether any image is JPEG, from one Parquet file or from its decoded copy.

    The decoded copy is found by the SHA-256 of the file, so it can never belong to other content.

    Arguments:
        path: the file.
        channels: 1 for grey images, 3 for colour (grey ones are then converted).
        label_column: name of the column of class numbers, or of true and false.
        side: where set, the largest centred square of each image is resized to this side.

    Raises:
        DataError: if the file is no Parquet file, lacks a column, or has a row that is no image of one size.
    """
    with path.open("rb") as file:
        key = f"{hashlib.file_digest(file, 'sha256').hexdigest()}-{channels}-{label_column}"
    key += "" if side is None else f"-{side}"
    if (stored := cache.read(key)) is not None:
        return stored
    import pyarrow as pa  # 0.2 s, which a run with a decoded copy need not pay
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            image_column = _check_columns(path, file, label_column)
            labels = _labels(path, file, label_column)
            images, jpeg = _images(path, file, image_column, channels, side)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: cannot be read as Parquet: {error}. Remove it and fetch it again.") from error
    cache.write(key, images, labels, jpeg)
    return images, labels, jpeg


def _check_columns(path: Path, file: "pq.ParquetFile", label_column: str) -> str:
    """Return the name of the image column, after a check of the names and types of both columns."""
    import pyarrow as pa

    schema = file.schema_arrow
    image_column = next((name for name in IMAGE_COLUMNS if name in schema.names), None)
    if image_column is None or label_column not in schema.names:
        missing = " or ".join(f"`{n}`" for n in IMAGE_COLUMNS) if image_column is None else f"`{label_column}`"
        raise DataError(f"{path}: there must be a column {missing}; got {', '.join(schema.names) or 'none'}.")
    kind = schema.field(image_column).type
    binary = (pa.types.is_binary, pa.types.is_large_binary)
    position = kind.get_field_index("bytes") if pa.types.is_struct(kind) else -1
    if position < 0 or not any(test(kind.field(position).type) for test in binary):
        raise DataError(f"{path}: the column `{image_column}` must be struct<bytes: binary, path: string>; got {kind}.")
    kind = schema.field(label_column).type
    if not (pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
        raise DataError(f"{path}: the column `{label_column}` must hold integers, or true and false; got {kind}.")
    if file.metadata.num_rows == 0:
        raise DataError(f"{path}: there must be at least one row; got none.")
    return image_column


def _labels(path: Path, file: "pq.ParquetFile", column: str) -> Int32[np.ndarray, " n"]:
    values = file.read(columns=[column]).column(column)
    if values.null_count:
        row = values.is_null().to_pylist().index(True)
        raise DataError(f"{path}: row {row} has no `{column}`; every row needs one.")
    labels = values.to_numpy()
    bad = np.flatnonzero((labels < 0) | (labels > np.iinfo(np.int32).max))
    if bad.size:
        raise DataError(f"{path}: `{column}` must be 0 or more; got {labels[bad[0]]} in row {bad[0]}.")
    return labels.astype(np.int32)


def _rows(file: "pq.ParquetFile", column: str) -> Iterator[bytes | None]:
    for batch in file.iter_batches(batch_size=1024, columns=[column]):
        yield from batch.column(0).field("bytes").to_pylist()


def _images(
    path: Path, file: "pq.ParquetFile", column: str, channels: int, side: int | None
) -> tuple[UInt8[np.ndarray, "n h w c"], bool]:
    images, jpeg = None, False
    for row, content in enumerate(_rows(file, column)):
        if content is None:
            raise DataError(f"{path}: row {row} of `{column}` has no bytes; the images must be in the file itself.")
        try:
            image = _decode(content, channels, side)
        # Pillow answers broken bytes with OSError, SyntaxError, ValueError and more, depending on the format.
        except Exception as error:
            raise DataError(f"{path}: row {row} of `{column}` cannot be decoded: {error}.") from error
        if images is None:
            images = np.empty((file.metadata.num_rows, *image.shape), np.uint8)
        if image.shape != images.shape[1:]:
            raise DataError(
                f"{path}: images must have one size; got {_size(image[None])} pixels in row {row}, "
                f"{_size(images)} in row 0."
            )
        images[row] = image
        jpeg = jpeg or content.startswith(b"\xff\xd8\xff")
    assert images is not None, "there is at least one row"
    return images, jpeg


def _decode(content: bytes, channels: int, side: int | None) -> UInt8[np.ndarray, "h w c"]:
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as image:
        if image.mode not in MODES[channels]:
            raise ValueError(f"its mode must be {' or '.join(MODES[channels])}, it is {image.mode}")
        plain = image if channels == 1 else image.convert("RGB")
        if side is not None:
            plain = ImageOps.fit(plain, (side, side), Image.Resampling.LANCZOS)
        width, height = plain.size
        return np.frombuffer(plain.tobytes(), np.uint8).reshape(height, width, channels)


def _size(images: np.ndarray) -> str:
    return f"{images.shape[1]} x {images.shape[2]}"
