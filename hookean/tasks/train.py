"""The training loop: batches in, a trained network out, with nothing lost when it is killed.

The data stay on the device as they lie in memory (uint8 for images). A step gathers its batch by index, transforms it
and learns from it in one compiled call, so that only indices travel.
"""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..algorithms.contract import AbstractAlgorithm, Info, TrainState
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


@dataclasses.dataclass
class Trainer:
    """Compiles the step of an algorithm once and drives it over epochs.

    Arguments:
        algorithm: what learns.
        template: a train state; its arrays give the shapes, everything else is compiled in.
        split: training samples.
        transform: from raw samples to the network.
        classes: number of classes.
        batch_size: samples a batch.
        seed: of shuffling and augmentation; a batch depends on (seed, epoch, index) alone.
        compiled: the step, if a trainer that differs from this one in data and seed alone has compiled it already.
    """

    algorithm: AbstractAlgorithm
    template: TrainState
    split: Split
    transform: Transform
    classes: int
    batch_size: int
    seed: int
    seconds: dict[str, float] = dataclasses.field(default_factory=lambda: {"compile": 0.0, "train": 0.0})
    compiled: Callable | None = None

    def __post_init__(self) -> None:
        self.static = eqx.partition(self.template, eqx.is_array)[1]
        self.inputs, self.labels = jax.device_put((self.split.inputs, self.split.labels))
        self.key = jax.random.fold_in(jax.random.key(self.seed), 1)

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        return len(self.split.labels) // self.batch_size

    def batch(self, inputs: Array, labels: Int[Array, "batch"]) -> dict[str, Array]:
        """Return the clamps of a labelled batch: transformed samples at the input, one-hot labels at the output."""
        network = self.template.network
        shape = (len(labels), *network.shapes[network.input or ""])
        return {network.input: inputs.reshape(shape), network.output: jax.nn.one_hot(labels, self.classes)}  # type: ignore[dict-item]

    def epoch(self, state: TrainState, number: int, reporter: Reporter) -> tuple[TrainState, dict[str, Any]]:
        """Train for one epoch.

        Returns:
            (the new state, {"energy", "accuracy", "energies": {term: nats}} as means over the epoch).

        Raises:
            Diverged: if energies or states leave the finite numbers.
        """
        order = epoch_order(len(self.split.labels), self.batch_size, seed=self.seed, epoch=number)
        key = jax.random.fold_in(self.key, number)
        dynamic = eqx.partition(state, eqx.is_array)[0]
        sums = self._nothing()
        step = self._compiled(dynamic, sums, order, key)
        began = time.perf_counter()
        for index, indices in enumerate(order):
            dynamic, sums = step(dynamic, sums, self.inputs, self.labels, indices, np.int32(index), key)
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
        energy, accuracy = sum(energies.values()), float(seen.right) / (batches * self.batch_size)
        if not np.isfinite(energy) or float(seen.diverged) > 0:
            raise Diverged(DIVERGED.format(epoch=epoch + 1))
        reporter.step(batches, energy, accuracy)
        return {"energy": energy, "accuracy": accuracy, "energies": energies}

    def _compiled(self, dynamic: Any, sums: Sums, order: Any, key: PRNGKeyArray) -> Callable:
        if self.compiled is None:
            began = time.perf_counter()
            arguments = (dynamic, sums, self.inputs, self.labels, order[0], np.int32(0), key)
            self.compiled = jax.jit(self._step, donate_argnums=(0, 1)).lower(*arguments).compile()
            self.seconds["compile"] += time.perf_counter() - began
        return self.compiled

    def _step(
        self,
        dynamic: Any,
        sums: Sums,
        inputs: Array,
        labels: Int[Array, "n"],
        indices: Int[Array, "batch"],
        index: Int[Array, ""],
        key: PRNGKeyArray,
    ) -> tuple[Any, Sums]:
        key_data, key_learn = jax.random.split(jax.random.fold_in(key, index))
        batch = self.batch(self.transform.train(inputs[indices], key=key_data), labels[indices])
        state = eqx.combine(dynamic, self.static)
        state = eqx.tree_at(lambda s: s.network, state, measured(state.network, batch))
        state, info = self.algorithm.step(state, batch, key=key_learn)
        return eqx.partition(state, eqx.is_array)[0], _add(sums, info, labels[indices])


def _add(sums: Sums, info: Info, labels: Int[Array, "batch"]) -> Sums:
    energies = {name: total + info.energies[name] for name, total in sums.energies.items()}
    right = sums.right
    if info.outputs is not None:
        right = right + jnp.sum(jnp.argmax(info.outputs, axis=-1) == labels)
    return Sums(energies, right, sums.diverged + info.diverged)
