"""Records as a classification run leaves them, with values that follow from the seed, the epoch and the layer."""

from pathlib import Path
from typing import Any

import numpy as np

from hookean.record import Record, write_arrays, write_record

TERMS = ("h1", "h2", "y")
EPOCHS = 4
STEPS = 6
CLASSES = 3


def entry(epoch: int, seed: int, *, relaxed: bool, lift: float) -> dict[str, Any]:
    """Return the history of one epoch."""
    values: dict[str, Any] = {
        "epoch": epoch,
        "train": None,
        "valid": {"accuracy": lift + 0.1 * epoch + 0.01 * seed, "energy": 1 / (1 + epoch)},
        "cosine": {name: 1.0 - 0.1 * i * epoch * relaxed for i, name in enumerate(TERMS)},
        "norm_ratio": dict.fromkeys(TERMS, 1.0),
        "seconds": float(epoch),
    }
    if relaxed:
        values["residual"] = 0.5 / (1 + epoch + seed)
    if epoch:
        values["train"] = {"energy": (1 + 0.1 * seed) / epoch, "accuracy": 0.5}
        hidden = 0.01 * epoch * relaxed
        values["energies"] = {"h1": 0.1 * hidden, "h2": hidden, "y": (1 + 0.1 * seed) / epoch}
    return values


def trace(scale: float) -> dict[str, Any]:
    """Return one relaxation: energy leaves the output and reaches the hidden layers one step after the other."""
    steps = range(STEPS)
    energies = {"h1": [scale * max(t - 1, 0) * 1e-4 for t in steps], "h2": [scale * t * 1e-2 for t in steps]}
    energies["y"] = [scale / (1 + t) for t in steps]
    return {"steps": list(steps), "energies": energies, "residual": [1 / (1 + t) for t in steps]}


def record(label: str = "PC-SE", seed: int = 0, *, relaxed: bool = True, lift: float = 0.5, **changes: Any) -> Record:
    """Return a finished run; `changes` replace fields."""
    fields: dict[str, Any] = {
        "task": "classification",
        "label": label,
        "algorithm": label.split("-")[0],
        "network": "mlp",
        "dataset": "MNIST",
        "seed": seed,
        "config": {"seed": seed, "epochs": EPOCHS, "network": {"hidden": [8, 8]}, "subset": None},
        "environment": {"jax": "0.0", "device": "cpu: cpu"},
        "started": "2025-01-02T03:04:05+00:00",
        "finished": "2025-01-02T03:05:05+00:00",
        "status": "finished",
        "seconds": {"compile": 1.0, "train": 2.5, "total": 4.0},
        "history": [entry(epoch, seed, relaxed=relaxed, lift=lift) for epoch in range(EPOCHS + 1)],
        "selected_epoch": EPOCHS,
        "test": {"accuracy": lift + 0.4 + 0.01 * seed, "energy": 0.2},
        "relaxation": {"first": trace(2.0 + seed), "last": trace(1.0 + seed)} if relaxed else None,
        "confusion": [[8 - seed, 2 + seed, 0], [1, 9, 0], [0, 4, 6]],
        "calibration": {"confidence": [0.0, 0.4, 0.9], "accuracy": [0.0, 0.5, 0.8], "count": [0, 10, 30]},
        "parameters": 123,
    }
    return Record(**(fields | changes))


def at_depth(layers: int, label: str = "PC", seed: int = 0, **changes: Any) -> Record:
    """Return a run of the task depth; its accuracy falls and its residual grows with the layers."""
    ended = entry(EPOCHS, seed, relaxed=True, lift=0.5)
    ended |= {"state_residual": 0.001 * layers, "cosine": {"h1": 1 / layers, "h2": 1.0, "y": 0.9}}
    config = {"epochs": EPOCHS, "layers": layers, "network": {"name": "mlp"}}
    fields = {"task": "depth", "network": f"mlp of {layers} layers", "config": config, "history": [ended]}
    fields |= {"test": {"accuracy": 0.9 - 0.01 * layers + 0.02 * seed}, "passes": 2 * layers}
    return record(label, seed, **(fields | changes))


def arrays(*, images: bool = True, errors: bool = True) -> dict[str, np.ndarray]:
    """Return what lies in arrays.npz: eight samples, the second of them taken for another class."""
    generator = np.random.default_rng(0)
    inputs = generator.integers(0, 256, (8, 6, 6, 1), np.uint8) if images else generator.normal(size=(8, 4))
    truths = np.arange(8, dtype=np.int32) % CLASSES
    guesses = truths.copy()
    guesses[1] = 2
    stored = {"sample_images": inputs, "sample_labels": truths, "sample_predictions": guesses}
    if errors:
        stored["sample_error/h1"] = generator.normal(size=(8, 5, 5, 2)).astype(np.float32)
        stored["sample_error/h2"] = generator.normal(size=(8, 300)).astype(np.float32)
        stored["sample_error/y"] = generator.normal(size=(8, CLASSES)).astype(np.float32)
    return stored


def write(folder: Path, *records: Record, stored: dict[str, np.ndarray] | None = None) -> Path:
    """Write records, each into a folder of its own; return the folder above them."""
    for i, one in enumerate(records):
        write_record(folder / f"run-{i}", one)
        if stored is not None:
            write_arrays(folder / f"run-{i}", stored)
    return folder


def usual(folder: Path) -> Path:
    """Write two labels with three seeds each, one of which relaxes nothing."""
    records = [record("PC-SE", seed) for seed in range(3)]
    records += [record("BP-SE", seed, relaxed=False, lift=0.45) for seed in range(3)]
    return write(folder, *records, stored=arrays())
