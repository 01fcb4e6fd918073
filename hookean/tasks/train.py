"""The training loop: batches in, a trained network out, with nothing lost when it is killed.

The data stay on the device as they lie in memory (uint8 for images). A step gathers its batch by index, transforms it
and learns from it in one compiled call, so that only indices travel.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..algorithms.contract import AbstractLearner, Info, TrainState
from ..core.clamp import Clamps
from ..core.network import Network
from ..core.normalise import measured
from ..data.batches import epoch_order
from ..data.dataset import Split
from ..data.transform import Transform
from .progress import Reporter

#: Batches between two looks at the sums on the device: seldom enough that the device never waits.
LOOK_EVERY = 50

DIVERGED = (
    "training diverged in epoch {epoch}: the energy or the states are no longer finite. Lower algorithm.solver.rate "
    "or its momentum, or optimiser.rate, or look for extreme values in the data."
)


class Diverged(RuntimeError):
    """Training left the finite numbers; the message says where and what to change."""

    def __str__(self) -> str:
        return str(self.args[0])


class Sums(eqx.Module):
    """Sums over the batches of an epoch, kept on the device."""

    energies: dict[str, Float[Array, ""]]
    right: Float[Array, ""]
    diverged: Float[Array, ""]


#: Arrays with a leading axis of samples, by name: what a batch is gathered from.
Rows = Mapping[str, Any]


@dataclasses.dataclass
class Trainer:
    """Compiles the step of an algorithm once and drives it over epochs.

    Arguments:
        algorithm: what learns.
        template: a train state; its arrays give the shapes, everything else is compiled in.
        rows: the training samples, as they lie in memory.
        clamps: from the rows of a batch and a key to the clamps of a step.
        batch_size: samples a batch.
        seed: of shuffling and augmentation; a batch depends on (seed, epoch, index) alone.
        classifies: count how often the output names the row `labels`.
        compiled: the step, if a trainer that differs from this one in data and seed alone has compiled it already.
    """

    algorithm: AbstractLearner
    template: TrainState
    rows: Rows
    clamps: Callable[[Rows, PRNGKeyArray], Clamps]
    batch_size: int
    seed: int
    classifies: bool = False
    seconds: dict[str, float] = dataclasses.field(default_factory=lambda: {"compile": 0.0, "train": 0.0})
    compiled: Callable | None = None

    def __post_init__(self) -> None:
        self.static = eqx.partition(self.template, eqx.is_array)[1]
        self.rows = jax.device_put(dict(self.rows))
        self.key = jax.random.fold_in(jax.random.key(self.seed), 1)

    @property
    def samples(self) -> int:
        """Samples in an epoch, the ragged tail counted."""
        return len(next(iter(self.rows.values())))

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        return self.samples // self.batch_size

    @property
    def memory_mebibytes(self) -> float | None:
        """What the compiled step holds at its peak, the rows apart; None before the first epoch."""
        if self.compiled is None:
            return None
        rows = sum(value.nbytes for value in self.rows.values())
        return mebibytes(self.compiled) - rows / 2**20

    def epoch(self, state: TrainState, number: int, reporter: Reporter) -> tuple[TrainState, dict[str, Any]]:
        """Train for one epoch.

        Returns:
            (the new state, means over the epoch: "energy", "energies" by term in nats, and "accuracy" of a classifier).

        Raises:
            Diverged: if energies or states leave the finite numbers.
        """
        order = epoch_order(self.samples, self.batch_size, seed=self.seed, epoch=number)
        key = jax.random.fold_in(self.key, number)
        dynamic = eqx.partition(state, eqx.is_array)[0]
        sums = self._nothing()
        step = self._compiled(dynamic, sums, order, key)
        began = time.perf_counter()
        for index, indices in enumerate(order):
            dynamic, sums = step(dynamic, sums, self.rows, indices, np.int32(index), key)
            if (index + 1) % LOOK_EVERY == 0:
                self._look(sums, index + 1, number, reporter)
        means = self._look(sums, len(order), number, reporter)
        self.seconds["train"] += time.perf_counter() - began
        return eqx.tree_at(
            lambda s: s.epoch, eqx.combine(dynamic, self.static), jnp.asarray(number + 1, jnp.int32)
        ), means

    def _nothing(self) -> Sums:
        # One buffer per sum: they are donated to the step.
        energies = {name: jnp.zeros(()) for name in self.template.network.term_names}
        return Sums(energies, jnp.zeros(()), jnp.zeros(()))

    def _look(self, sums: Sums, batches: int, epoch: int, reporter: Reporter) -> dict[str, Any]:
        seen = jax.device_get(sums)
        energies = {name: float(value) / batches for name, value in seen.energies.items()}
        means = {"energy": sum(energies.values())}
        if self.classifies:
            means["accuracy"] = float(seen.right) / (batches * self.batch_size)
        if not np.isfinite(means["energy"]) or float(seen.diverged) > 0:
            raise Diverged(DIVERGED.format(epoch=epoch + 1))
        reporter.step(batches, **means)
        return means | {"energies": energies}

    def _compiled(self, dynamic: Any, sums: Sums, order: Any, key: PRNGKeyArray) -> Callable:
        if self.compiled is None:
            began = time.perf_counter()
            arguments = (dynamic, sums, self.rows, order[0], np.int32(0), key)
            self.compiled = jax.jit(self._step, donate_argnums=(0, 1)).lower(*arguments).compile()
            self.seconds["compile"] += time.perf_counter() - began
        return self.compiled

    def _step(
        self,
        dynamic: Any,
        sums: Sums,
        rows: Rows,
        indices: Int[Array, "batch"],
        index: Int[Array, ""],
        key: PRNGKeyArray,
    ) -> tuple[Any, Sums]:
        key_data, key_learn = jax.random.split(jax.random.fold_in(key, index))
        chosen = {name: values[indices] for name, values in rows.items()}
        batch = self.clamps(chosen, key_data)
        state = eqx.combine(dynamic, self.static)
        state = eqx.tree_at(lambda s: s.network, state, measured(state.network, batch))
        state, info = self.algorithm.step(state, batch, key=key_learn)
        return eqx.partition(state, eqx.is_array)[0], _add(sums, info, chosen["labels"] if self.classifies else None)


def mebibytes(compiled: Any) -> float:
    """Return the size of a compiled function's arguments, results and scratch space in MiB."""
    usage = compiled.memory_analysis()
    size = usage.argument_size_in_bytes + usage.output_size_in_bytes + usage.temp_size_in_bytes
    return (size - usage.alias_size_in_bytes) / 2**20


def labelled(network: Network, inputs: Array, labels: Int[Array, "batch"], classes: int) -> dict[str, Array]:
    """Return the clamps of a labelled batch: samples at the input, one-hot labels at the output."""
    shape = (len(labels), *network.shapes[network.input or ""])
    return {network.input: inputs.reshape(shape), network.output: jax.nn.one_hot(labels, classes)}  # type: ignore[dict-item]


def classifier(
    algorithm: AbstractLearner,
    state: TrainState,
    split: Split,
    transform: Transform,
    classes: int,
    batch_size: int,
    seed: int,
    compiled: Callable | None = None,
) -> Trainer:
    """Return the trainer of a classifier: transformed samples at the input, one-hot labels at the output."""

    def clamps(rows: Rows, key: PRNGKeyArray) -> dict[str, Array]:
        return labelled(state.network, transform.train(rows["inputs"], key=key), rows["labels"], classes)

    rows = {"inputs": split.inputs, "labels": split.labels}
    return Trainer(algorithm, state, rows, clamps, batch_size, seed, classifies=True, compiled=compiled)


def _add(sums: Sums, info: Info, labels: Int[Array, "batch"] | None) -> Sums:
    energies = {name: total + info.energies[name] for name, total in sums.energies.items()}
    right = sums.right
    if info.outputs is not None and labels is not None:
        right = right + jnp.sum(jnp.argmax(info.outputs, axis=-1) == labels)
    return Sums(energies, right, sums.diverged + info.diverged)
