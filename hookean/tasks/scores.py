"""Scores of foreignness: how little a trained network expects a sample. Higher is more foreign, for every score."""

from collections.abc import Mapping, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ..algorithms.contract import output_term
from ..core.network import Network
from ..inference.relax import relax
from ..inference.solver import AbstractSolver

#: Temperature of ODIN's softmax, as published.
ODIN_TEMPERATURE = 1000.0


def logits(network: Network, sample: Float[Array, "*input"]) -> Float[Array, "classes"]:
    """Return what a forward pass predicts for the output: logits, or the outputs of a Gaussian one."""
    return output_term(network).predict(network.forward({network.input: sample}))  # type: ignore[dict-item]


def of_outputs(network: Network, sample: Float[Array, "*input"]) -> dict[str, Float[Array, ""]]:
    r"""Return the scores of one sample that follow from its outputs z alone, with $p = \mathrm{softmax}(z)$.

    - max softmax: $-\max_c p_c$ (Hendrycks & Gimpel, 2017)
    - entropy: $-\sum_c p_c \log p_c$; with cross entropy this is the energy whose output is free, at the forward states
    - logit energy: $-\log\sum_c e^{z_c}$ (Liu et al., 2020)
    """
    z = logits(network, sample)
    logp = jax.nn.log_softmax(z)
    return {
        "max softmax": -jnp.exp(jnp.max(logp)),
        "entropy": -jnp.sum(jnp.exp(logp) * logp),
        "logit energy": -jax.nn.logsumexp(z),
    }


def odin(network: Network, sample: Float[Array, "*input"], step: float | Float[Array, ""]) -> Float[Array, ""]:
    r"""Return ODIN's score of one sample: $-\max_c p_c$ after a step that makes the network surer.

    $x' = x + \epsilon\,\mathrm{sgn}\nabla_x \log\max_c p_c(x)$, and p is the softmax at temperature 1000.

    Arguments:
        step: $\epsilon$, in the units of the network's input.

    Source: Liang, Li & Srikant (2018).
    """

    def confidence(x: Float[Array, "*input"]) -> Float[Array, ""]:
        return jnp.max(jax.nn.log_softmax(logits(network, x) / ODIN_TEMPERATURE))

    return -jnp.exp(confidence(sample + step * jnp.sign(jax.grad(confidence)(sample))))


def best_step(network: Network, inputs: Float[Array, "n *input"], steps: Sequence[float]) -> float:
    """Return ODIN's step: the one that makes the network surest on held-out known samples; no foreign one is seen.

    Source: Hsu et al. (2020), generalised ODIN.
    """
    mean = [float(jnp.mean(jax.vmap(lambda x, s=step: odin(network, x, s))(inputs))) for step in steps]
    return steps[int(np.argmin(mean))]


def of_energy(
    network: Network, inputs: Float[Array, "n *input"], *, solver: AbstractSolver, steps: int
) -> dict[str, Float[Array, "n"]]:
    r"""Return the scores of a batch that are energies, in nats.

    - energy before: E with the input clamped and the network's own best label at the output, at the forward states.
      With cross entropy it is $-\log\max_c p_c$: the order of max softmax.
    - energy after: the same after `steps` of relaxation; and its part in every term, "energy after (h1)" and so on
    - label-free energy: $-\log\sum_c e^{-E_c}$, where $E_c$ is the energy after inference with class c clamped: the
      output is free, and summed over

    Cost: as many relaxations as there are classes; the one of the best label is among them.
    """
    outputs = jax.vmap(lambda x: logits(network, x))(inputs)
    samples, classes = outputs.shape
    best = jnp.argmax(outputs, axis=-1)

    def clamped(labels: Int[Array, "n"]) -> dict[str, Array]:
        return {network.input: inputs, network.output: jax.nn.one_hot(labels, classes)}  # type: ignore[dict-item]

    def settled(label: Int[Array, ""]) -> dict[str, Float[Array, "n"]]:
        end = relax(network, clamped(jnp.full(samples, label)), solver=solver, steps=steps)
        return jax.vmap(network.energies)(end.states)

    by_class = jax.vmap(settled)(jnp.arange(classes))
    terms = {name: value[best, jnp.arange(samples)] for name, value in by_class.items()}
    before = eqx.filter_vmap(lambda sample: network.energy(network.forward(sample)))(clamped(best))
    found = {"energy before": before, "energy after": _total(terms)}
    found |= {f"energy after ({name})": value for name, value in terms.items()}
    return found | {"label-free energy": -jax.nn.logsumexp(-_total(by_class), axis=0)}


def _total(energies: Mapping[str, Array]) -> Array:
    return sum(energies.values(), start=jnp.zeros(()))


class Mahalanobis:
    r"""Distance to the nearest class in feature space: $\min_c (f - \mu_c)^\top \Sigma^{-1} (f - \mu_c)$.

    f is the state of the last hidden node after a forward pass; means by class and one covariance come from the
    training samples. The covariance is shrunk (Ledoit and Wolf), since units may be silent.

    Source: Lee et al. (2018), on the last layer and without a change of the input.

    Arguments:
        features, labels: of the training samples.
    """

    def __init__(self, features: Float[np.ndarray, "n f"], labels: Int[np.ndarray, "n"]):
        from sklearn.covariance import LedoitWolf

        self.means = np.stack([features[labels == c].mean(axis=0) for c in np.unique(labels)])
        centred = features - self.means[np.unique(labels, return_inverse=True)[1]]
        self.covariance = LedoitWolf(assume_centered=True).fit(centred)

    def __call__(self, features: Float[np.ndarray, "n f"]) -> Float[np.ndarray, "n"]:
        return np.min([self.covariance.mahalanobis(features - mean) for mean in self.means], axis=0)


def features(network: Network, sample: Float[Array, "*input"]) -> Float[Array, "f"]:
    """Return the states that predict the output, after a forward pass: the last hidden node of a chain."""
    states = network.forward({network.input: sample})  # type: ignore[dict-item]
    return jnp.concatenate([states[name].reshape(-1) for name in output_term(network).sources])
