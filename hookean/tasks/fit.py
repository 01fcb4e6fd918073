"""Training inside an experiment: epochs over any rows, with checkpoints."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from ..algorithms.contract import AbstractLearner, TrainState
from ..core.network import Network
from . import checkpoint
from .build import ConfigError
from .contract import require_same
from .experiment import Stage
from .progress import Reporter
from .train import Rows, Trainer


def fit(
    stage: Stage,
    algorithm: AbstractLearner,
    network: Network,
    rows: Rows,
    clamps: Callable[[Rows, Any], Any],
    *,
    epochs: int,
    batch_size: int,
    seed: int,
    after: Callable[[TrainState, int], dict[str, Any]] | None = None,
    part: str = "train",
    every: int = 1,
) -> TrainState:
    """Train a network and return the last train state; the history of the record grows by an entry an epoch.

    Arguments:
        algorithm: what learns.
        rows: arrays with a leading axis of samples, by name.
        clamps: (rows of a batch, key) -> clamps of a step.
        epochs, batch_size: how long, and how many samples a step.
        seed: of the algorithm's memory, shuffling and augmentation.
        after: (train state, epochs behind it) -> measures that the entry of the epoch holds too.
        part: name of the checkpoint, where an experiment trains several networks; it stands in the entries of all
            parts but `train`.
        every: write a checkpoint every so many epochs, and after the last one (default 1).

    Raises:
        Diverged: if energies or states leave the finite numbers.
        ConfigError: if there is not one whole batch, or a checkpoint in the folder belongs to another config.
    """
    samples = len(next(iter(rows.values())))
    if batch_size > samples:
        raise ConfigError(f"batch_size must be at most the number of training samples, {samples}, got {batch_size}.")
    state = algorithm.init(network, key=jax.random.key(seed))
    state = jax.tree.map(lambda leaf: jnp.array(leaf) if eqx.is_array(leaf) else leaf, state)  # steps donate buffers
    trainer = Trainer(algorithm, state, rows, clamps, batch_size, seed)
    path = stage.folder / f"{part}.safetensors"
    state, done = resumed(stage, path, state)
    reporter = Reporter(stage.title if part == "train" else f"{stage.title}, {part}", quiet=stage.quiet)
    with reporter.run(epochs, done, trainer.steps):
        for epoch in range(done, epochs):
            with stage.timed("train"):
                state, means = trainer.epoch(state, epoch, reporter)
            entry: dict[str, Any] = {"epoch": epoch + 1, "energies": means.pop("energies"), "train": means}
            entry |= {} if part == "train" else {"part": part}
            entry |= after(state, epoch + 1) if after is not None else {}
            stage.record.history.append(entry)
            if (epoch + 1) % every == 0 or epoch + 1 == epochs:
                save(stage, path, state, epoch + 1)
            reporter.epoch(epoch + 1, energy=means["energy"])
    return state


def save(stage: Stage, path: Path, state: Any, done: int) -> None:
    """Write the arrays of a tree, the epochs behind it, the history of the record and the seconds that it took."""
    record = stage.record
    header = {"epoch": done, "config": record.config, "history": record.history, "seconds": stage.seconds()}
    checkpoint.save(path, eqx.filter(state, eqx.is_array), header)


def resumed(stage: Stage, path: Path, state: Any) -> tuple[Any, int]:
    """Return the state and the number of epochs behind it, from the checkpoint if there is one.

    Raises:
        ConfigError: if the checkpoint belongs to another config.
    """
    if not (stage.resume and path.exists()):
        return state, 0
    dynamic, static = eqx.partition(state, eqx.is_array)
    tree, header = checkpoint.load(path, dynamic)
    require_same(path, header["config"], stage.record.config)
    stage.record.history = header["history"]
    stage.go_on(header.get("seconds", {}))
    tree = jax.tree.map(jnp.asarray, tree)
    return eqx.combine(tree, static), header["epoch"]
