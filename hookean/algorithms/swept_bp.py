"""Backpropagation through the sweeps of a network that may have cycles: the rival of PC on graphs."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..core import graph
from ..core.checks import at_least
from ..core.clamp import Clamps, value
from ..core.initialise import Sweeps
from ..core.network import Network
from ..learning.batch import mean_gradient
from .contract import (
    AbstractAlgorithm,
    Info,
    Needs,
    Signal,
    TrainState,
    energies_of_classes,
    learn_once,
    output_term,
    require_output,
)


class SweptBP(AbstractAlgorithm):
    r"""Backpropagation through sweeps: T times all predictions at once with the output free, then the gradient.

    $x^{t+1} = \hat x(x^t)$ for every node that is not clamped, from $x^0 = 0$, and
    $W \leftarrow W - \alpha\,\overline{dE_y(y, \hat y(x^T))/dW}$ with $E_y$ the energy of the output's term.

    It is backpropagation through time where time is not in the data: `BPTT` rolls out a sequence step by step, which
    needs an order of evaluation within a step; here every sample stands still, and the cycles of the graph are what is
    unfolded. Without cycles, and with a sweep for every hidden node on the longest path, it is backpropagation.

    Arguments:
        steps: T (default 8). What is clamped reaches the output through at most T hidden nodes.
        optimiser: the weight rule; it sees the batch mean.

    Cost: T + 1 evaluations of all predictions forward and as many backward, and their memory.

    Source: Werbos (1990); Rumelhart, Hinton & Williams (1986) for the unfolding of a network with cycles.
    """

    steps: int = 8
    optimiser: optax.GradientTransformation = optax.adam(1e-3)

    label: ClassVar[str] = "BPTT over sweeps"
    reference: ClassVar[str] = "Werbos, Proceedings of the IEEE 78 (1990)"
    cost: ClassVar[str] = "T + 1 sweeps forward and backward"
    needs: ClassVar[Needs] = Needs(weight_transport=True, backward_pass=True, phases=2)

    def __check_init__(self) -> None:
        at_least("steps", self.steps, 0)

    def check(self, network: Network) -> None:
        output = require_output(network)
        if output not in {term.target for term in graph.predictions(network.terms).values()}:
            raise ValueError(f"SweptBP needs a term that predicts the output '{output}'.")
        if network.input is None:
            free = ", ".join(graph.unpredicted(network.terms)) or "none"
            raise ValueError(
                f"SweptBP needs a network that names its input node, got none; nodes that nothing predicts: {free}. "
                "Use Network(..., input='name'), or PC where such a node is free, as in a decoder."
            )

    def updates_per_batch(self) -> int:
        return 1

    def passes(self, network: Network) -> int:
        del network
        return 2 * (self.steps + 1)

    def signal(
        self, network: Network, batch: Clamps, *, epoch: Int[Array, ""] | int, key: PRNGKeyArray, record: bool = False
    ) -> Signal:
        del epoch, key, record

        def energies(model: Network, sample: Clamps) -> dict[str, Float[Array, ""]]:
            term, target = output_term(model), value(sample[require_output(model)])
            found = term.density.energy(target, self._unfolded(model, sample))
            return {name: found if t is term else jnp.zeros(()) for name, t in model.terms.items()}

        return Signal(*mean_gradient(energies, network, dict(batch)), None)

    def step(self, state: TrainState, batch: Clamps, *, key: PRNGKeyArray) -> tuple[TrainState, Info]:
        return learn_once(self, state, batch, key=key)

    def predict(self, network: Network, batch: Clamps) -> Float[Array, "batch *output"]:
        mean = output_term(network).density.mean
        return jax.vmap(lambda sample: mean(self._unfolded(network, sample)))(dict(batch))

    def class_energies(self, network: Network, inputs: Float[Array, "batch *input"]) -> Float[Array, "batch classes"]:
        def one(sample: Float[Array, "*input"]) -> Float[Array, "classes"]:
            found = self._unfolded(network, {network.input: sample})  # type: ignore[dict-item]
            return energies_of_classes(output_term(network), found)

        return jax.vmap(one)(inputs)

    def _unfolded(self, network: Network, clamps: Clamps) -> Float[Array, "..."]:
        """Return what the output's term predicts (logits where it is categorical) after T sweeps."""
        given = {name: clamp for name, clamp in clamps.items() if name != network.output}
        states = Sweeps(self.steps)(network, given, key=jax.random.key(0))
        return output_term(network).predict(states)
