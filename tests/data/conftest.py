"""Small Parquet files in the hub's layout, and the place of the real data."""

import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

# Read when the tests are collected, before any test changes the environment.
_CHOSEN = os.environ.get("HOOKEAN_DATA")
_BESIDE = Path(__file__).resolve().parents[2].parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_root(tmp_path_factory):
    root = Path(_CHOSEN) if _CHOSEN else _BESIDE
    if not root.is_dir():
        pytest.skip(f"no folder {root}; set HOOKEAN_DATA to the folder of the real data")
    return root


@pytest.fixture(scope="session")
def session_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def isolated(tmp_path, monkeypatch):
    """No test reads or writes the user's folders, or finds data that it did not make."""
    monkeypatch.setenv("HOOKEAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HOOKEAN_DATA", raising=False)


def _encode(image: np.ndarray, kind: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(stream, format=kind)
    return stream.getvalue()


@pytest.fixture
def encode() -> Callable[[np.ndarray, str], bytes]:
    return _encode


@pytest.fixture
def images() -> Callable[..., np.ndarray]:
    """Random images [n, side, side, channels]; no two alike, no symmetry."""

    def make(n: int, side: int, channels: int, seed: int = 0) -> np.ndarray:
        return np.random.default_rng(seed).integers(0, 256, (n, side, side, channels), dtype=np.uint8)

    return make


@pytest.fixture
def write_parquet() -> Callable[..., Path]:
    def write(
        path: Path,
        contents: Sequence[bytes | None],
        labels: Sequence[int | None],
        *,
        image: str = "image",
        label: str = "label",
        extra: dict[str, Sequence[int]] | None = None,
    ) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        rows = [{"bytes": content, "path": None} for content in contents]
        columns = {image: pa.array(rows, kind), label: pa.array(labels, pa.int64())}
        columns |= {name: pa.array(values, pa.int64()) for name, values in (extra or {}).items()}
        pq.write_table(pa.table(columns), path, row_group_size=3)
        return path

    return write
