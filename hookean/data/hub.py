"""Download of a data set by name from the public hub, each file checked against the hub's checksum."""

import hashlib
from pathlib import Path, PurePosixPath
from typing import Any

from .dataset import DataError
from .layout import Layout, shards


def download(layout: Layout, root: Path) -> None:
    """Fetch the Parquet files of both splits into `root`, in the folders they have on the hub.

    Files that are already there are not fetched again, but are checked all the same. The hub's library shows
    the progress.

    Arguments:
        layout: which repository, folder and splits.
        root: data root; the files land in `root/<folder>/<hub folder>/`.

    Raises:
        DataError: if the library is not installed, the hub cannot be reached, the files are not there, or a
            checksum differs (the file is then removed).
    """
    try:
        import huggingface_hub
    except ImportError as error:
        raise DataError(
            'a download needs the library huggingface_hub: install it with `pip install "hookean[hub]"`, '
            "or set HOOKEAN_DATA to a folder that holds the data."
        ) from error
    target = root / layout.folder
    checksums = _listing(huggingface_hub, layout)
    for name in _wanted(layout, checksums):
        try:
            huggingface_hub.hf_hub_download(
                repo_id=layout.repository, filename=name, repo_type="dataset", local_dir=target
            )
        except Exception as error:  # the library's exceptions have no common base across its versions
            raise DataError(f"download of {name} from {layout.repository} failed: {error}") from error
        _check(target / name, checksums[name], layout.repository)


def _listing(library: Any, layout: Layout) -> dict[str, str | None]:
    """Return the SHA-256 of every file of the repository, None where the hub states none."""
    try:
        entries = list(library.HfApi().list_repo_tree(layout.repository, recursive=True, repo_type="dataset"))
    except Exception as error:  # as above
        raise DataError(
            f"the hub did not list {layout.repository}: {error}. "
            "Check the connection, or set HOOKEAN_DATA to a folder that holds the data."
        ) from error
    checksums = {}
    for entry in entries:
        lfs = getattr(entry, "lfs", None)
        checksums[entry.path] = None if lfs is None else lfs.sha256
    return checksums


def _wanted(layout: Layout, paths: dict[str, str | None]) -> list[str]:
    """Return the paths of the training and test files inside the repository."""
    folder = PurePosixPath(layout.hub_folder)
    names = [PurePosixPath(path).name for path in paths if PurePosixPath(path).parent == folder]
    try:
        return [str(folder / name) for split in (layout.train, layout.test) for name in shards(names, split)]
    except DataError as error:
        raise DataError(f"{layout.repository}/{folder} on the hub is not as expected: {error}.") from error


def _check(path: Path, stated: str | None, repository: str) -> None:
    """Compare the SHA-256 of a file with the stated one; remove the file if they differ."""
    if stated is None:
        path.unlink(missing_ok=True)
        raise DataError(
            f"the hub states no SHA-256 for {path.name} of {repository}, so it cannot be checked; "
            "it was removed. Set HOOKEAN_DATA to a folder that holds the data."
        )
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != stated:
        path.unlink()
        raise DataError(
            f"{path.name} of {repository} arrived damaged: its SHA-256 is {found}, the hub states {stated}. "
            "The file was removed; download it again."
        )
