"""What is measured on a split: accuracy, cross entropy, calibration, confusion; every sample counted once."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ..core import graph
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


def class_log_probabilities(network: Network, sample: Float[Array, "*input"]) -> Float[Array, "classes"]:
    r"""Return $\log p(c\,|\,x)$ of one sample by a forward pass, with $p(c\,|\,x) \propto \exp(-E(e_c, \hat y))$.

    $E$ is the energy of the output term with the one-hot target $e_c$. For a categorical output this is the softmax of
    the logits; for a Gaussian one with precision 1 it is the softmax of the outputs, for targets are all of one length.
    """
    term = output_term(network)
    states = network.forward({network.input: sample})  # type: ignore[dict-item]
    prediction = term.predict(states)
    targets = jnp.eye(prediction.size)
    return jax.nn.log_softmax(-jax.vmap(lambda target: term.density.energy(target, prediction))(targets))


def output_term(network: Network) -> Any:
    """Return the first term that predicts the output node.

    Raises:
        ValueError: if the network has no input, no output, or nothing predicts the output.
    """
    if network.input is None:
        raise ValueError("classification needs a network that names its input node.")
    for term in graph.predictions(network.terms).values():
        if term.target == network.output:
            return term
    raise ValueError("classification needs a network whose output node is predicted by a term.")


def count(
    network: Network, inputs: Float[Array, "batch *input"], labels: Int[Array, "batch"], weights: Float[Array, "batch"]
) -> Counts:
    """Return the sums over one batch; a sample of weight 0 does not count."""
    logp = jax.vmap(lambda sample: class_log_probabilities(network, sample))(inputs)
    classes = logp.shape[-1]
    targets = jax.nn.one_hot(labels, classes)
    density, term = output_term(network).density, output_term(network)
    del density
    batch = {network.input: inputs, network.output: targets}

    def energy(sample: dict[str, Array]) -> Array:
        return term(network.forward(sample))

    energies = eqx.filter_vmap(energy)(batch)
    best = jnp.argmax(logp, axis=-1)
    right = (best == labels).astype(weights.dtype)
    # The rank of the label: how many classes are more probable.
    own = jnp.take_along_axis(logp, labels[:, None], axis=1)
    rank = jnp.sum(logp > own, axis=-1)
    confidence = jnp.exp(jnp.max(logp, axis=-1))
    bins = jnp.clip((confidence * BINS).astype(int), 0, BINS - 1)

    def binned(values: Float[Array, "batch"]) -> Float[Array, "bins"]:
        return jnp.zeros(BINS).at[bins].add(values)

    return Counts(
        samples=jnp.sum(weights),
        top1=jnp.sum(weights * right),
        top5=jnp.sum(weights * (rank < 5)),
        cross_entropy=-jnp.sum(weights * own[:, 0]),
        energy=jnp.sum(weights * energies),
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
    transform: Callable[[Array], Array], static: Any, batch_size: int, combine: Callable[[Any, Any], Network]
) -> Callable[[Any, Split], Counts]:
    """Return a function (trained arrays of a network, split) -> `Counts`, compiled once for all splits."""

    @jax.jit
    def run(dynamic: Any, inputs: Array, labels: Array, weights: Array) -> Counts:
        return count(combine(dynamic, static), transform(inputs), labels, weights)

    def evaluate(dynamic: Any, split: Split) -> Counts:
        total = None
        for indices, weights in zip(*evaluation_order(len(split.labels), batch_size), strict=True):
            part = run(dynamic, split.inputs[indices], split.labels[indices], weights)
            total = part if total is None else jax.tree.map(jnp.add, total, part)
        return jax.device_get(total)

    return evaluate
