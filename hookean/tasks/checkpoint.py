"""Checkpoints: named arrays and a JSON header in one safetensors file, replaced atomically."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from ..record import write_bytes


class CheckpointError(ValueError):
    """A checkpoint that is broken or does not belong to what is being resumed."""

    def __str__(self) -> str:
        return str(self.args[0])


def names(tree: PyTree) -> dict[str, Any]:
    """Return path in the tree -> leaf, for every array leaf."""
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def save(path: Path, tree: PyTree, header: dict[str, Any]) -> None:
    """Write the arrays of `tree` and the JSON `header`; the old file stays until the new one is whole.

    Raises:
        RecordError: if the file cannot be written (a full disk, no permission).
    """
    from safetensors.numpy import save as serialise

    arrays = {name: np.asarray(leaf) for name, leaf in names(tree).items()}
    write_bytes(path, serialise(arrays, metadata={"hookean": json.dumps(header)}))


def load(path: Path, like: PyTree) -> tuple[PyTree, dict[str, Any]]:
    """Read a checkpoint into the structure of `like`.

    Returns:
        (a tree shaped like `like` with the stored arrays, the header).

    Raises:
        CheckpointError: if the file is broken, or its names, shapes or types are not those of `like`.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            header = json.loads((file.metadata() or {})["hookean"])
            stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise CheckpointError(
            f"{path} is not a readable checkpoint ({error}). Delete it, or start again without --resume."
        ) from error
    _compare(path, {name: np.asarray(leaf) for name, leaf in names(like).items()}, stored)
    structure = jax.tree.structure(like)
    return jax.tree.unflatten(structure, [stored[name] for name in names(like)]), header


def _compare(path: Path, expected: dict[str, np.ndarray], stored: dict[str, np.ndarray]) -> None:
    remedy = "It belongs to another network, algorithm or optimiser: use the configuration that it was made with."
    missing, extra = sorted(expected.keys() - stored.keys()), sorted(stored.keys() - expected.keys())
    if missing or extra:
        raise CheckpointError(
            f"{path} lacks {missing[:3] or 'nothing'} and has {extra[:3] or 'nothing'} too much. {remedy}"
        )
    for name, leaf in expected.items():
        found = stored[name]
        if (found.shape, found.dtype) != (leaf.shape, leaf.dtype):
            raise CheckpointError(
                f"{path}: '{name}' must have shape {leaf.shape} and type {leaf.dtype}, "
                f"got {found.shape} and {found.dtype}. {remedy}"
            )
