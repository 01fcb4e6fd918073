"""What is measured on a split: accuracy, cross entropy, calibration, confusion; every sample counted once."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ..core.network import Network
from ..data.batches import evaluation_order
from ..data.dataset import Split

#: Equal bins of confidence, as in Guo et al. (2017).
BINS = 15


class Counts(eqx.Module):
    """Sums over samples, from which the metrics of a split follow."""

    samples: Float[Array, ""]
    top1: Float[Array, ""]
    top5: Float[Array, ""]
    cross_entropy: Float[Array, ""]
    energy: Float[Array, ""]
    confusion: Float[Array, "classes classes"]
    confidence: Float[Array, "bins"]
    correct: Float[Array, "bins"]
    count: Float[Array, "bins"]


#: (network, samples) -> energy of every class in nats, as `AbstractAlgorithm.class_energies` gives it.
ClassEnergies = Callable[[Network, Array], Array]


def count(
    energies: Float[Array, "batch classes"], labels: Int[Array, "batch"], weights: Float[Array, "batch"]
) -> Counts:
    """Return the sums over one batch from the energy of each class in nats; a sample of weight 0 does not count."""
    logp = jax.nn.log_softmax(-energies)
    classes = logp.shape[-1]
    best = jnp.argmax(logp, axis=-1)
    own = jnp.take_along_axis(logp, labels[:, None], axis=1)
    known = ~jnp.isnan(own[:, 0])  # what is no number has named no class
    right = ((best == labels) & known).astype(weights.dtype)
    # The rank of the label: how many classes are more probable.
    rank = jnp.sum(logp > own, axis=-1)
    confidence = jnp.exp(jnp.max(logp, axis=-1))
    bins = jnp.clip((confidence * BINS).astype(int), 0, BINS - 1)

    def binned(values: Float[Array, "batch"]) -> Float[Array, "bins"]:
        return jnp.zeros(BINS).at[bins].add(values)

    return Counts(
        samples=jnp.sum(weights),
        top1=jnp.sum(weights * right),
        top5=jnp.sum(weights * ((rank < 5) & known)),
        cross_entropy=-jnp.sum(weights * own[:, 0]),
        energy=jnp.sum(weights * jnp.take_along_axis(energies, labels[:, None], axis=1)[:, 0]),
        confusion=jnp.zeros((classes, classes)).at[labels, best].add(weights),
        confidence=binned(weights * confidence),
        correct=binned(weights * right),
        count=binned(weights),
    )


def summarise(counts: Counts) -> dict[str, float]:
    """Return the metrics of a split: fractions in [0, 1], cross entropy and energy in nats per sample."""
    n = float(counts.samples)
    gaps = np.abs(np.asarray(counts.confidence) - np.asarray(counts.correct))
    return {
        "accuracy": float(counts.top1) / n,
        "top5": float(counts.top5) / n,
        "cross_entropy": float(counts.cross_entropy) / n,
        "calibration_error": float(gaps.sum()) / n,
        "energy": float(counts.energy) / n,
        "samples": n,
    }


def evaluator(
    class_energies: ClassEnergies,
    transform: Callable[[Array], Array],
    static: Any,
    batch_size: int,
    combine: Callable[[Any, Any], Network],
) -> Callable[[Any, Split], Counts]:
    """Return a function (trained arrays of a network, split) -> `Counts`, compiled once for all splits."""

    @jax.jit
    def run(dynamic: Any, inputs: Array, labels: Array, weights: Array) -> Counts:
        return count(class_energies(combine(dynamic, static), transform(inputs)), labels, weights)

    def evaluate(dynamic: Any, split: Split) -> Counts:
        total = None
        for indices, weights in zip(*evaluation_order(len(split.labels), batch_size), strict=True):
            part = run(dynamic, split.inputs[indices], split.labels[indices], weights)
            total = part if total is None else jax.tree.map(jnp.add, total, part)
        return jax.device_get(total)

    return evaluate
