"""Forward-forward, unsupervised: every layer learns to tell samples from hybrids of two samples."""

import functools
from typing import ClassVar

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ..core import graph
from ..core.checks import at_least, positive
from ..core.clamp import Clamps, value
from ..core.network import Network
from ..learning.batch import mean_gradient
from ..learning.feedback import dense_chain
from ..learning.goodness import contrast, respond
from .contract import AbstractAlgorithm, Info, Needs, Signal, TrainState, energies_of_classes, learn_once


class UnsupervisedFF(AbstractAlgorithm):
    r"""Forward-forward without labels in the hidden layers, and an output layer that learns to read them.

    As `FF`, with samples as true data and hybrids $m \odot a + (1 - m) \odot b$ of two samples of the batch as false
    ones. The mask m has large connected regions: random bits, blurred with $(\frac14, \frac12, \frac14)$ along the
    first two axes of the input (its only one, where it is a vector), and cut at one half. Labels reach the output layer
    alone.

    Networks: chains of dense layers, as `mlp` builds them, with a hidden layer. The lowest value of a sample counts as
    no input.

    Arguments:
        threshold: $\theta$ for each unit (default 1).
        temperature: $\tau$ (default 1).
        blurs: how often the mask is blurred (default 6).
        optimiser: the weight rule; it sees the batch mean.

    Cost: two forward passes and the weight gradient of both.

    Source: Hinton (2022), section 3.2. Here the output layer reads the last hidden layer alone.
    """

    threshold: float = 1.0
    temperature: float = 1.0
    blurs: int = 6
    optimiser: optax.GradientTransformation = optax.adam(1e-3)

    label: ClassVar[str] = "FF-unsupervised"
    reference: ClassVar[str] = "Hinton, arXiv 2212.13345 (2022)"
    cost: ClassVar[str] = "two forward passes, no backward pass"
    needs: ClassVar[Needs] = Needs(phases=2)

    def __check_init__(self) -> None:
        positive("threshold", self.threshold)
        positive("temperature", self.temperature)
        at_least("blurs", self.blurs, 0)

    def check(self, network: Network) -> None:
        if len(dense_chain(network, "UnsupervisedFF")) < 2:
            raise ValueError("UnsupervisedFF needs a hidden layer, got a network without one. Use BP or PC.")

    def updates_per_batch(self) -> int:
        return 1

    def passes(self, network: Network) -> int:
        del network
        return 2

    def signal(
        self, network: Network, batch: Clamps, *, epoch: Int[Array, ""] | int, key: PRNGKeyArray, record: bool = False
    ) -> Signal:
        del epoch, record
        inputs, labels = value(batch[network.input]), value(batch[network.output])  # type: ignore[index]
        samples = {"true": inputs, "false": hybrids(inputs, self.blurs, key=key), "label": labels}
        return Signal(*mean_gradient(self._energies, network, samples), None)

    def step(self, state: TrainState, batch: Clamps, *, key: PRNGKeyArray) -> tuple[TrainState, Info]:
        return learn_once(self, state, batch, key=key)

    def predict(self, network: Network, batch: Clamps) -> Float[Array, "batch classes"]:
        """Return what the output layer reads (probabilities where it is categorical); a clamp on it is ignored."""
        last = dense_chain(network, "UnsupervisedFF")[-1]
        inputs = value(batch[network.input])  # type: ignore[index]
        return jax.vmap(lambda sample: last.density.mean(_answers(network, sample)[-1]))(inputs)

    def class_energies(self, network: Network, inputs: Float[Array, "batch *input"]) -> Float[Array, "batch classes"]:
        last = dense_chain(network, "UnsupervisedFF")[-1]
        return jax.vmap(lambda sample: energies_of_classes(last, _answers(network, sample)[-1]))(inputs)

    def _energies(self, network: Network, sample: dict[str, Array]) -> dict[str, Float[Array, ""]]:
        """Return each layer's own loss in nats."""
        *terms, last = dense_chain(network, "UnsupervisedFF")
        *true, output = _answers(network, sample["true"])
        false = _answers(network, sample["false"])[:-1]
        found = {last.target: last.density.energy(sample["label"], output)}
        for term, plus, minus in zip(terms, true, false, strict=True):
            found[term.target] = contrast(plus, minus, self.threshold, self.temperature)
        return {name: found[term.target] for name, term in graph.predictions(network.terms).items()}


def _answers(network: Network, sample: Float[Array, "*input"]) -> list[Float[Array, "..."]]:
    """Return what every layer answers to a sample, the output layer too; no gradient passes between layers."""
    states = []
    state = sample - jnp.min(sample)
    for term in dense_chain(network, "UnsupervisedFF"):
        state = respond(term.function, jax.lax.stop_gradient(state))  # type: ignore[arg-type]
        states.append(state)
    return states


def hybrids(inputs: Float[Array, "batch *input"], blurs: int, *, key: PRNGKeyArray) -> Float[Array, "batch *input"]:
    """Return for every sample a mixture with the one before it in the batch, along the borders of a random mask."""
    shape = inputs.shape[1:]
    draw = functools.partial(mask, shape[: 2 if len(shape) > 1 else 1], blurs)
    masks = jax.vmap(lambda k: draw(key=k))(jax.random.split(key, len(inputs)))
    masks = masks.reshape(*masks.shape, *(1,) * (inputs.ndim - masks.ndim))
    return jnp.where(masks, inputs, jnp.roll(inputs, 1, axis=0))


def mask(shape: tuple[int, ...], blurs: int, *, key: PRNGKeyArray) -> Bool[Array, "..."]:
    """Return random bits after blurring with (1/4, 1/2, 1/4) along every axis, cut at one half; edges are repeated."""
    field = jax.random.bernoulli(key, 0.5, shape).astype(float)
    for _ in range(blurs):
        for axis in range(len(shape)):
            around = [(int(axis == a), int(axis == a)) for a in range(len(shape))]
            wide = jnp.pad(field, around, mode="edge")
            low, here, high = (jax.lax.slice_in_dim(wide, s, s + shape[axis], axis=axis) for s in range(3))
            field = 0.25 * low + 0.5 * here + 0.25 * high
    return field > 0.5
