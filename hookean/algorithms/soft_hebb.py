"""Soft winner-take-all Hebbian learning in the hidden layers, and an output layer that learns to read them."""

from typing import ClassVar

import jax
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..core import graph
from ..core.checks import positive
from ..core.clamp import Clamps, value
from ..core.network import Network
from ..learning.batch import mean_gradient
from ..learning.competition import competes, contrasted, hebbian_loss
from ..learning.feedback import dense_chain
from .contract import AbstractAlgorithm, Info, Needs, Signal, TrainState, energies_of_classes, learn_once


class SoftHebb(AbstractAlgorithm):
    r"""Soft winner-take-all Hebbian: units of a layer compete for each input, and no error reaches them.

    $\Delta w_k = \pm y_k (\hat x - u_k w_k)$ with $y = \mathrm{softmax}(t\,u)$ over the units of a layer, + for the
    winner (`learning/competition.py`). A layer answers $\phi(u - \bar u)$; it reads the answer below less its mean, at
    mean square 1. The output layer descends its own energy on what the last hidden layer answers. All layers learn at
    once.

    Networks: chains of dense layers, as `mlp` builds them, with a hidden layer.

    Arguments:
        sharpness: t (default 1, for inputs of mean square 1).
        repel: the losers of a competition move away from the input (default true), else towards it.
        optimiser: the weight rule; it sees the batch mean.

    Cost: one forward pass and the local products.

    Source: Journé, Garcia Rodriguez, Guo & Moraitis (2023), for convolutions. Theirs scales the rate of every unit by
    how far the length of its weights is from 1; here the optimiser scales. The bias is described in `hebbian_loss`.
    """

    sharpness: float = 1.0
    repel: bool = True
    optimiser: optax.GradientTransformation = optax.adam(1e-3)

    label: ClassVar[str] = "SoftHebb"
    reference: ClassVar[str] = "Journé, Garcia Rodriguez, Guo & Moraitis, ICLR (2023)"
    cost: ClassVar[str] = "one forward pass, no backward pass"
    needs: ClassVar[Needs] = Needs()

    def __check_init__(self) -> None:
        positive("sharpness", self.sharpness)

    def check(self, network: Network) -> None:
        if len(dense_chain(network, "SoftHebb")) < 2:
            raise ValueError("SoftHebb needs a hidden layer, got a network without one. Use BP or PC.")

    def updates_per_batch(self) -> int:
        return 1

    def passes(self, network: Network) -> int:
        del network
        return 1

    def signal(
        self, network: Network, batch: Clamps, *, epoch: Int[Array, ""] | int, key: PRNGKeyArray, record: bool = False
    ) -> Signal:
        del epoch, key, record
        samples = {"x": value(batch[network.input]), "y": value(batch[network.output])}  # type: ignore[index]
        return Signal(*mean_gradient(self._energies, network, samples), None)

    def step(self, state: TrainState, batch: Clamps, *, key: PRNGKeyArray) -> tuple[TrainState, Info]:
        return learn_once(self, state, batch, key=key)

    def predict(self, network: Network, batch: Clamps) -> Float[Array, "batch classes"]:
        """Return what the output layer reads (probabilities where it is categorical); a clamp on it is ignored."""
        inputs = value(batch[network.input])  # type: ignore[index]
        mean = dense_chain(network, "SoftHebb")[-1].density.mean
        return jax.vmap(lambda sample: mean(_read(network, sample)))(inputs)

    def class_energies(self, network: Network, inputs: Float[Array, "batch *input"]) -> Float[Array, "batch classes"]:
        last = dense_chain(network, "SoftHebb")[-1]
        return jax.vmap(lambda sample: energies_of_classes(last, _read(network, sample)))(inputs)

    def _energies(self, network: Network, sample: dict[str, Array]) -> dict[str, Float[Array, ""]]:
        """Return each layer's objective; no gradient passes between layers."""
        *hidden, last = dense_chain(network, "SoftHebb")
        state, found = sample["x"], {}
        for term in hidden:
            found[term.target] = hebbian_loss(term.function, state, self.sharpness, self.repel)  # type: ignore[arg-type]
            state = jax.lax.stop_gradient(competes(term.function, state))  # type: ignore[arg-type]
        found[last.target] = last.density.energy(sample["y"], last.function(contrasted(state)))
        return {name: found[term.target] for name, term in graph.predictions(network.terms).items()}


def _read(network: Network, sample: Float[Array, "*input"]) -> Float[Array, "classes"]:
    """Return what the output layer predicts for one sample."""
    *hidden, last = dense_chain(network, "SoftHebb")
    state: Array = sample
    for term in hidden:
        state = competes(term.function, state)  # type: ignore[arg-type]
    return last.function(contrasted(state))
