"""What a run leaves on disk: one record per run, readable without the library; tasks write it, the report reads it."""

import dataclasses
import io
import json
import math
import os
import platform
import subprocess
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

SCHEMA = 1
STATUSES = ("running", "finished", "diverged", "interrupted")
KINDS: dict[type, tuple[str, ...]] = {  # what the report relies on in a file that anyone may have edited
    str: ("task", "label", "algorithm", "network", "dataset", "started", "status"),
    int: ("seed",),
    dict: ("config", "environment", "seconds"),
    list: ("history", "shown", "charts", "images"),
}


#: Entries of a record in which null stands for a number that was not finite.
MEASURED = ("test", "relaxation", "calibration")


class RecordError(ValueError):
    """A record that cannot be written or read; the message says which file and what to do."""

    def __str__(self) -> str:
        return str(self.args[0])


@dataclasses.dataclass
class Chart:
    """Lines that a run has measured, ready to be drawn.

    Attributes:
        title: what is drawn; runs whose charts have the same title are drawn together.
        x, y: what the axes are, with units.
        lines: name -> {"x": [...], "y": [...]}, and "low" and "high" where each point has an interval; the name is ""
            where a run has one line only.
        log: axes that are logarithmic: "", "x", "y" or "xy".
        reading: how to read it, in a sentence or two.
    """

    title: str
    x: str
    y: str
    lines: dict[str, dict[str, list[float]]]
    log: str = ""
    reading: str = ""

    def __post_init__(self) -> None:
        if self.log not in ("", "x", "y", "xy"):
            raise RecordError(f"log of the chart '{self.title}' must be one of '', x, y, xy; got '{self.log}'.")
        for name, line in self.lines.items():
            sizes = {len(values) for values in line.values()}
            if not {"x", "y"} <= set(line) <= {"x", "y", "low", "high"} or len(sizes) != 1:
                raise RecordError(
                    f"the line '{name}' of the chart '{self.title}' must hold x and y, and low and high where there "
                    f"are intervals, all of one length; got { ({key: len(values) for key, values in line.items()}) }."
                )


@dataclasses.dataclass
class Images:
    """Pictures that a run has made: rows and columns of images.

    Attributes:
        title: what is shown.
        array: name in `arrays.npz` of values [rows, columns, h, w] or [rows, columns, h, w, 3], in [0, 1] (or uint8).
        rows: what each row is.
        reading: how to read it, in a sentence or two.
        signed: values lie on both sides of zero and have a diverging colour scale, each row its own.
    """

    title: str
    array: str
    rows: list[str]
    reading: str = ""
    signed: bool = False


@dataclasses.dataclass
class Record:
    """One run: one cell of a table, one seed.

    Attributes:
        task, algorithm, network, dataset: names; `dataset` is the human label, as in "CIFAR-10 (JPEG)".
        label: what tables call the run.
        config: the exact resolved config, nested plain values.
        environment: versions, device, processor, commit.
        started, finished: ISO times in UTC.
        status: running, finished, diverged or interrupted; `message` holds the remedy.
        seconds: data, compile, train, evaluate, evidence, total.
        history: per epoch (0 stands before the first update): train and valid metrics, energies by term in nats,
            residual, cosine and norm ratio by term, seconds since the start.
        selected_epoch: the epoch whose network was tested.
        test: metrics on the test split, or what an experiment has measured.
        shown: the entries of `test` that tables show, the first one first.
        charts, images: what the run has to show beside its learning curves.
        relaxation: {"first" | "last": {"steps", "energies", "residual"}} over relaxation steps.
        confusion: rows are true classes, columns predictions.
        calibration: reliability bins: confidence, accuracy, count.
        parameters: number of trained parameters.
        passes: signals that a batch sends once through the network, forward or backward (backpropagation: 2).
        needs: what the algorithm needs that is not local, in words.
        memory_mebibytes: what a training step holds at its peak, the data set apart.
    """

    task: str
    label: str
    algorithm: str
    network: str
    dataset: str
    seed: int
    config: dict[str, Any]
    environment: dict[str, Any]
    started: str
    schema: int = SCHEMA
    finished: str | None = None
    status: str = "running"
    message: str | None = None
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)
    history: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    selected_epoch: int | None = None
    test: dict[str, float] | None = None
    relaxation: dict[str, Any] | None = None
    confusion: list[list[int]] | None = None
    calibration: dict[str, list[float]] | None = None
    parameters: int = 0
    passes: int | None = None
    shown: list[str] = dataclasses.field(default_factory=lambda: ["accuracy"])
    charts: list[Chart] = dataclasses.field(default_factory=list)
    images: list[Images] = dataclasses.field(default_factory=list)
    needs: list[str] | None = None
    memory_mebibytes: float | None = None


def write_bytes(path: Path, payload: bytes) -> None:
    """Write a file atomically: the old one stays until the new one is whole.

    Raises:
        RecordError: if it cannot be written (a full disk, no permission).
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
        with os.fdopen(handle, "wb") as file:
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)  # a temporary file is private; the result is a file like any other
        Path(temporary).replace(path)
    except OSError as error:
        raise RecordError(
            f"{path} could not be written: {error.strerror or error}. What was there before is untouched. "
            "Free some space or choose another folder with --out."
        ) from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)  # what is left if it could not take its place


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, in UTF-8."""
    write_bytes(path, text.encode())


def write_record(folder: Path, record: Record) -> None:
    """Write `record.json` into a run folder, atomically; a number that is not finite is null, as JSON has no other."""
    values = _map_numbers(
        dataclasses.asdict(record), lambda x: None if isinstance(x, float) and not math.isfinite(x) else x
    )
    write_text(folder / "record.json", json.dumps(values, indent=1, allow_nan=False) + "\n")


def read_record(path: Path) -> Record:
    """Read a record file; null among measured numbers becomes nan.

    Raises:
        RecordError: if it is missing, broken, of another schema, or has missing, unknown or mistyped fields.
    """
    try:
        values = json.loads(path.read_text())
    except OSError as error:
        raise RecordError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise RecordError(f"{path} is not valid JSON ({error}). Delete it and run again.") from error
    if not isinstance(values, dict) or values.get("schema") != SCHEMA:
        raise RecordError(f"{path} must be a record of schema {SCHEMA}.")
    for kind, names in KINDS.items():
        for name in names:
            if name in values and type(values[name]) is not kind:
                raise RecordError(f"{path}: `{name}` must be of type {kind.__name__}, got {values[name]!r:.60}.")
    if values.get("status", STATUSES[0]) not in STATUSES:
        raise RecordError(f"{path}: `status` must be one of {', '.join(STATUSES)}, got {values['status']!r:.60}.")
    try:
        return Record(**_with_nan(values))
    except (TypeError, KeyError, AttributeError) as error:
        raise RecordError(f"{path} has missing or unknown fields: {error}.") from error


def find_records(*folders: Path) -> list[tuple[Path, Record]]:
    """Return (file, record) of every record at any depth below the folders, sorted by file."""
    files = sorted({path for folder in folders for path in folder.rglob("record.json")})
    return [(path, read_record(path)) for path in files]


def write_arrays(folder: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write `arrays.npz` into a run folder, atomically.

    Raises:
        RecordError: if an array holds Python objects, which only a pickle could store, or the file cannot be written.
    """
    objects = [name for name, array in arrays.items() if np.asarray(array).dtype.hasobject]
    if objects:
        raise RecordError(f"{folder / 'arrays.npz'}: `{objects[0]}` must hold numbers, got an array of Python objects.")
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **dict(arrays))  # type: ignore[arg-type]
    write_bytes(folder / "arrays.npz", buffer.getvalue())


def read_arrays(folder: Path) -> dict[str, np.ndarray]:
    """Read `arrays.npz` of a run folder; empty where there is none.

    Raises:
        RecordError: if the file is cut off, damaged or holds pickles.
    """
    path = folder / "arrays.npz"
    if not path.exists():
        return {}
    try:
        # NumPy leaves a file of its own open where the archive is broken; this one is closed in any case.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise RecordError(f"{path} is not a readable array file ({error}). Delete it.") from error


def environment() -> dict[str, Any]:
    """Return what a figure depends on besides its config: versions, device, processor, memory, commit."""
    import jax

    versions = {}
    for name in ("hookean", "jax", "jaxlib", "equinox", "optax", "numpy"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    device = jax.devices()[0]
    return versions | {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": f"{device.platform}: {device.device_kind}",
        "cpu": _processor(),
        "cores": _cores(),
        "memory_gib": _memory(),
        "double_precision": bool(jax.config.jax_enable_x64),  # type: ignore[attr-defined]
        "commit": _commit(),
    }


def _map_numbers(value: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(value, dict):
        return {name: _map_numbers(part, change) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_map_numbers(part, change) for part in value]
    return change(value)


def _with_nan(values: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a record with nan for null inside metrics, traces and bins; elsewhere null means absent."""

    def filled(value: Any) -> Any:
        return _map_numbers(value, lambda x: math.nan if x is None else x) if isinstance(value, dict) else value

    history = [
        {name: filled(part) for name, part in entry.items()} if isinstance(entry, dict) else entry
        for entry in values.get("history", [])
    ]
    measured: dict[str, Any] = {name: filled(values[name]) for name in MEASURED if name in values}
    measured["charts"] = [Chart(**(chart | {"lines": filled(chart["lines"])})) for chart in values.get("charts", [])]
    measured["images"] = [Images(**images) for images in values.get("images", [])]
    return values | measured | ({"history": history} if "history" in values else {})


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _cores() -> int | None:
    """Return the number of cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count()


def _memory() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError, AttributeError):
        return None


def _commit() -> str | None:
    """Return the commit of the source tree, or None outside a checkout."""
    try:
        command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=5).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
