"""Forward-forward, supervised: every layer learns by itself to be active for true pairs of data and label."""

import dataclasses
import functools
import itertools
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..core import graph
from ..core.checks import positive
from ..core.clamp import Clamps, value
from ..core.layers import Dense
from ..core.network import Network
from ..learning.batch import mean_gradient
from ..learning.feedback import dense_chain
from ..learning.goodness import LEAST, contrast, goodness, respond, unit_length
from .contract import AbstractRememberingAlgorithm, Info, Needs, Signal, TrainState, energies_of_classes, learn_once

#: Share of the running mean that a batch leaves as it was.
KEPT = 0.9


class FF(AbstractRememberingAlgorithm):
    r"""Forward-forward: two forward passes, one with the true and one with a false label, and no backward pass.

    The label stands in the first c entries of the input. Hidden layers answer $h_l = \phi(W_l\,\hat h_{l-1} + b_l)$ to
    the direction $\hat h = h/\mathrm{rms}(h)$ of the layer below. Each descends its own loss (`learning/goodness.py`):
    the goodness $G_l = \sum_j h_{lj}^2$ is to lie above $\theta n_l$ with the true label and below it with a false one.
    No gradient passes between layers. Units with little activity are kept alive by their peers: a drive is raised by
    `peer` times $\frac1n\sum_k \bar h_k - \bar h_j$, with $\bar h$ the running mean of the activities with the true
    label, which stands in `TrainState.memory`. The output layer reads the last hidden layer, fed with all labels at
    $1/c$, and descends its own energy; it proposes the false labels.

    Networks: chains of dense layers, as `mlp` builds them, with at least one hidden layer and an input of more entries
    than there are classes. The lowest value of a sample counts as no input.

    Arguments:
        threshold: $\theta$ for each unit (default 1, for the sum of squares the number of units).
        temperature: $\tau$ (default 1).
        peer: strength of that pull in nats (default 0.03, of the first published code).
        hard: draw the false label from what the output layer believes, else from all false ones alike (default true).
        predicts: "goodness" tries every label and takes that with the largest goodness, over all hidden layers but the
            first, where there are several; "readout" takes the output layer's answer, in one pass (default goodness).
        optimiser: the weight rule; it sees the batch mean.

    Cost: three forward passes, of which one learns nothing, and the weight gradient of two.

    Source: Hinton (2022), section 3.3, and its code for the pull. Here the output layer reads the last hidden layer
    alone.
    """

    threshold: float = 1.0
    temperature: float = 1.0
    peer: float = 0.03
    hard: bool = True
    predicts: Literal["goodness", "readout"] = "goodness"
    optimiser: optax.GradientTransformation = optax.adam(1e-3)

    label: ClassVar[str] = "FF"
    reference: ClassVar[str] = "Hinton, arXiv 2212.13345 (2022)"
    cost: ClassVar[str] = "three forward passes, no backward pass"
    needs: ClassVar[Needs] = Needs(phases=2)

    def __check_init__(self) -> None:
        positive("threshold", self.threshold)
        positive("temperature", self.temperature)
        if self.peer < 0:
            raise ValueError(f"peer must not be negative, got {self.peer}.")
        if self.predicts not in ("goodness", "readout"):
            raise ValueError(f"predicts must be goodness or readout, got '{self.predicts}'.")

    def check(self, network: Network) -> None:
        chain = dense_chain(network, "FF")
        first, last = chain[0].function, chain[-1].function
        assert isinstance(first, Dense)
        assert isinstance(last, Dense)
        inputs, classes = first.linear.weight.shape[1], last.linear.weight.shape[0]
        if len(chain) < 2 or inputs <= classes:
            raise ValueError(
                "FF needs a hidden layer, and an input of more entries than there are classes, whose first entries the "
                f"label replaces; got {inputs} inputs, {classes} classes and {len(chain) - 1} hidden layers."
            )

    def updates_per_batch(self) -> int:
        return 1

    def passes(self, network: Network) -> int:
        del network
        return 3

    def init(self, network: Network, *, key: PRNGKeyArray) -> TrainState:
        state = super().init(network, key=key)
        means = {term.target: jnp.zeros(network.shapes[term.target]) for term in dense_chain(network, "FF")[:-1]}
        return dataclasses.replace(state, memory=means)

    def remember(self, state: TrainState, batch: Clamps, *, key: PRNGKeyArray) -> dict[str, Float[Array, "m"]]:
        """Return the running mean of every hidden unit's activity with the true labels."""
        del key
        network, hidden = state.network, _layers(state.network)[:-1]
        inputs, labels = value(batch[network.input]), value(batch[network.output])  # type: ignore[index]
        states = jax.vmap(lambda sample, label: _answers(hidden, sample, label[None]))(inputs, labels)
        nodes = [term.target for term in dense_chain(network, "FF")[:-1]]
        new = {node: jnp.mean(answer, axis=(0, 1)) for node, answer in zip(nodes, states, strict=True)}
        return {node: KEPT * state.memory[node] + (1 - KEPT) * mean for node, mean in new.items()}

    def remembered_signal(
        self,
        memory: Any,
        network: Network,
        batch: Clamps,
        *,
        epoch: Int[Array, ""] | int,
        key: PRNGKeyArray,
        record: bool = False,
    ) -> Signal:
        del epoch, record
        inputs, labels = value(batch[network.input]), value(batch[network.output])  # type: ignore[index]
        top, belief = jax.vmap(lambda sample: _one_pass(network, sample))(inputs)
        others = jnp.where(labels > 0, -jnp.inf, belief if self.hard else jnp.zeros_like(belief))
        false = jax.nn.one_hot(jax.random.categorical(key, others), labels.shape[-1])
        samples = {"x": inputs, "true": labels, "false": false, "top": top}
        gradient, energies = mean_gradient(functools.partial(self._energies, memory), network, samples)
        return Signal(gradient, energies, None, outputs=jax.nn.softmax(belief))

    def step(self, state: TrainState, batch: Clamps, *, key: PRNGKeyArray) -> tuple[TrainState, Info]:
        return learn_once(self, state, batch, key=key)

    def predict(self, network: Network, batch: Clamps) -> Float[Array, "batch classes"]:
        """Return the probability of every class; a clamp on the output is ignored."""
        return jax.nn.softmax(-self.class_energies(network, value(batch[network.input])))  # type: ignore[index]

    def class_energies(self, network: Network, inputs: Float[Array, "batch *input"]) -> Float[Array, "batch classes"]:
        r"""Return minus the goodness of every label, divided by $\tau$; or the output layer's energy of every label."""
        *hidden, output = _layers(network)
        classes = output.linear.weight.shape[0]

        def one(sample: Float[Array, "*input"]) -> Float[Array, "classes"]:
            if self.predicts == "readout":
                return -_one_pass(network, sample)[1]
            states = _answers(hidden, sample, jnp.eye(classes))
            counted = states[1:] or states
            return -sum((jax.vmap(goodness)(state) for state in counted), start=jnp.zeros(classes)) / self.temperature

        return jax.vmap(one)(inputs)

    def _energies(
        self, means: dict[str, Float[Array, "m"]], network: Network, sample: dict[str, Array]
    ) -> dict[str, Float[Array, ""]]:
        """Return each layer's own loss in nats; the true and the false pair go through the layers side by side."""
        *terms, last = dense_chain(network, "FF")
        hidden = _layers(network)[:-1]
        drives = _drives(hidden, sample["x"], jnp.stack([sample["true"], sample["false"]]))
        found = {}
        for term, layer, drive in zip(terms, hidden, drives, strict=True):
            true, false = layer.activation(drive)
            pull = self.peer * (jnp.mean(means[term.target]) - means[term.target])
            # The pull has a gradient, past the gate of the activation, and no value.
            pulled = jnp.sum(pull * (jax.lax.stop_gradient(drive[0]) - drive[0]))
            found[term.target] = contrast(true, false, self.threshold, self.temperature) + pulled
        found[last.target] = last.density.energy(sample["true"], respond(_layers(network)[-1], sample["top"]))
        return {name: found[term.target] for name, term in graph.predictions(network.terms).items()}


def _layers(network: Network) -> list[Dense]:
    return [term.function for term in dense_chain(network, "FF")]  # type: ignore[misc]


def _answers(
    hidden: Sequence[Dense], sample: Float[Array, "*input"], labels: Float[Array, "k c"]
) -> list[Float[Array, "k m"]]:
    """Return the activities of every hidden layer for one sample with each of k labels; no gradient between layers."""
    return [layer.activation(drive) for layer, drive in zip(hidden, _drives(hidden, sample, labels), strict=True)]


def _drives(
    hidden: Sequence[Dense], sample: Float[Array, "*input"], labels: Float[Array, "k c"]
) -> list[Float[Array, "k m"]]:
    r"""Return $W_l\,\hat h_{l-1} + b_l$ of every hidden layer.

    The first layer is $\phi(W\hat x + b)$ with the label in the first c entries of x, as high as the largest of the
    others. The product with the others is the same for all labels, and is taken once.
    """
    first, classes = hidden[0], labels.shape[1]
    shown = (sample - jnp.min(sample)).reshape(-1).at[:classes].set(0.0)
    marks = labels * jnp.max(shown)
    scale = jax.lax.rsqrt((jnp.sum(shown**2) + jnp.sum(marks**2, axis=1)) / shown.size + LEAST)
    weight, bias = first.linear.weight, first.linear.bias
    drive = (weight @ shown)[None] + marks @ weight[:, :classes].T
    assert bias is not None
    drives = [scale[:, None] * drive + bias[None]]
    for below, layer in itertools.pairwise(hidden):
        state = jax.lax.stop_gradient(below.activation(drives[-1]))
        drives.append(jax.vmap(lambda one, to=layer: to.linear(unit_length(one)))(state))
    return drives


def _one_pass(network: Network, sample: Float[Array, "*input"]) -> tuple[Float[Array, "m"], Float[Array, "c"]]:
    """Return the last hidden layer's answer to an unlabelled sample, and minus the output's energy of each class."""
    *hidden, output = _layers(network)
    classes = output.linear.weight.shape[0]
    top = _answers(hidden, sample, jnp.full((1, classes), 1 / classes))[-1][0]
    return top, -energies_of_classes(dense_chain(network, "FF")[-1], respond(output, top))
