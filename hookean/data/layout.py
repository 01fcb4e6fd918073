"""Where the files of a data set lie: the public hub's names, and the local folders that are searched."""

import os
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .dataset import DataError


@dataclass(frozen=True)
class Layout:
    """How the Parquet files of one data set are named, on the hub and in a local copy.

    Arguments:
        folder: folder of the set below a data root, such as "mnist".
        repository: name on the hub, "owner/name".
        hub_folder: folder of the files inside that repository.
        channels: 1 for grey images, 3 for colour (grey ones are then converted).
        label_column: name of the column of class numbers.
        train: how the names of the training files begin.
        test: how the names of the test files begin ("valid" where the hub's test split has no labels).
        side: where set, the largest centred square of each image is resized to this side as it is read.
    """

    folder: str
    repository: str
    hub_folder: str
    channels: int
    label_column: str = "label"
    train: str = "train"
    test: str = "test"
    side: int | None = None

    def folders(self, root: Path) -> tuple[Path, ...]:
        """Return the folders below `root` that a copy may lie in, the plain one first."""
        tops = (root / self.folder, root / self.repository.split("/")[1], root / self.repository)
        return tuple(dict.fromkeys(top / sub for top in tops for sub in ("", "data", self.hub_folder)))


@dataclass(frozen=True)
class Files:
    """The Parquet files of a complete copy, in order of their shards."""

    train: tuple[Path, ...]
    test: tuple[Path, ...]


def shards(names: Iterable[str], split: str) -> tuple[str, ...]:
    """Return the file names of a split, in order: `train.parquet`, or `train-00000-of-00002.parquet` etc.

    Raises:
        DataError: if there is none, if some are missing, or if there are two copies side by side.
    """
    pattern = re.compile(rf"{re.escape(split)}(?:[-_.].*)?\.parquet")
    found = tuple(sorted(name for name in names if pattern.fullmatch(name)))
    if not found:
        raise DataError(f"no {split}*.parquet")
    counts = [re.search(r"-(\d+)-of-(\d+)", name) for name in found]
    numbers = sorted(int(count[1]) for count in counts if count)
    totals = {int(count[2]) for count in counts if count}
    if not totals:
        if len(found) > 1:
            raise DataError(f"{', '.join(found)} without shard numbers (-00000-of-0000N): keep one of them")
        return found
    if len(numbers) != len(found) or len(totals) > 1 or len(set(numbers)) < len(numbers):
        raise DataError(f"several copies of {split} side by side ({', '.join(found)}): keep one of them")
    (total,) = totals
    if numbers != list(range(total)):
        raise DataError(f"{len(numbers)} of {total} shards of {split}")
    return found


def cache_folder() -> Path:
    """Return the folder for what can be made again: HOOKEAN_CACHE, else the platform's cache folder."""
    if chosen := os.environ.get("HOOKEAN_CACHE"):
        return Path(chosen).expanduser()
    if sys.platform == "darwin":
        return Path("~/Library/Caches/hookean").expanduser()
    base = os.environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "hookean"


def download_folder(root: Path | None) -> Path:
    """Return the data root that downloads go to: `root` where given, else `data` in the cache folder."""
    return cache_folder() / "data" if root is None else root


def search_places(root: Path | None) -> tuple[Path, ...]:
    """Return the data roots to search, in order.

    `root` where given, and then nothing else. Otherwise HOOKEAN_DATA where set, and last the folder of earlier
    downloads.
    """
    if root is not None:
        return (root,)
    if chosen := os.environ.get("HOOKEAN_DATA"):
        return (Path(chosen).expanduser(), download_folder(None))
    return (download_folder(None),)


def find(layout: Layout, root: Path | None) -> Files:
    """Return the files of the first complete copy.

    Raises:
        DataError: if there is none; says where it looked, what was wrong there and what to do.
    """
    notes = []
    for place in search_places(root):
        candidates = [folder for folder in layout.folders(place) if folder.is_dir()]
        if not candidates:
            notes.append(f"{place / layout.folder}: no such folder")
        for folder in candidates:
            names = [path.name for path in folder.iterdir()]
            try:
                train, test = shards(names, layout.train), shards(names, layout.test)
            except DataError as error:
                notes.append(f"{folder}: {error}")
                continue
            return Files(tuple(folder / name for name in train), tuple(folder / name for name in test))
    looked = "\n  ".join(notes)
    setting = "`root`" if root is not None else "the environment variable HOOKEAN_DATA"
    raise DataError(
        f"no complete copy of {layout.folder} found. Looked in:\n  {looked}\n"
        f"Set {setting} to the folder that holds {layout.folder}/ with {layout.train}.parquet and "
        f"{layout.test}.parquet, or allow the download from the hub ({layout.repository}) with --download "
        "(Python: download=True)."
    )
