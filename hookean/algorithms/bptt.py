"""Backpropagation through the sweeps of a network that may have cycles: the rival of PC on graphs."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..core import graph
from ..core.checks import at_least
from ..core.clamp import Clamps
from ..core.initialise import Sweeps
from ..core.network import Network
from ..learning.batch import mean_gradient
from .contract import AbstractAlgorithm, Info, Signal, TrainState, apply_gradient, require_output


class BPTT(AbstractAlgorithm):
    r"""Backpropagation through time: T sweeps of all predictions with the output free, then the gradient through them.

    $x^{t+1} = \hat x(x^t)$ for every node that is not clamped, from $x^0 = 0$, and
    $W \leftarrow W - \alpha\,\overline{dE_y(y, \hat y(x^T))/dW}$ with $E_y$ the energy of the output's term.

    Without cycles, and with a sweep for every hidden node on the longest path, it is backpropagation.

    Arguments:
        steps: T (default 8). What is clamped reaches the output through at most T hidden nodes.
        optimiser: the weight rule; it sees the batch mean.

    Cost: T + 1 evaluations of all predictions forward and as many backward, and their memory.

    Source: Werbos (1990); Rumelhart, Hinton & Williams (1986) for the unfolding of a network with cycles.
    """

    steps: int = 8
    optimiser: optax.GradientTransformation = optax.adam(1e-3)

    label: ClassVar[str] = "BPTT"
    reference: ClassVar[str] = "Werbos, Proceedings of the IEEE 78 (1990)"
    cost: ClassVar[str] = "T + 1 sweeps forward and backward"

    def __check_init__(self) -> None:
        at_least("steps", self.steps, 0)

    def check(self, network: Network) -> None:
        output = require_output(network)
        if output not in {term.target for term in graph.predictions(network.terms).values()}:
            raise ValueError(f"BPTT needs a term that predicts the output '{output}'.")

    def updates_per_batch(self) -> int:
        return 1

    def passes(self, network: Network) -> int:
        del network
        return 2 * (self.steps + 1)

    def signal(
        self, network: Network, batch: Clamps, *, epoch: Int[Array, ""] | int, key: PRNGKeyArray, record: bool = False
    ) -> Signal:
        del epoch, key, record
        gradient, energies = mean_gradient(lambda model, sample: self._unfolded(model, sample)[0], network, dict(batch))
        return Signal(gradient, {name: energies.get(name, jnp.zeros(())) for name in network.term_names}, None)

    def step(self, state: TrainState, batch: Clamps, *, key: PRNGKeyArray) -> tuple[TrainState, Info]:
        signal = self.signal(state.network, batch, epoch=state.epoch, key=key)
        info = Info(signal.energies, self.predict(state.network, batch), jnp.zeros(()))
        return apply_gradient(state, self.optimiser, signal.gradient), info

    def predict(self, network: Network, batch: Clamps) -> Float[Array, "batch *output"]:
        return jax.vmap(lambda sample: self._unfolded(network, sample)[1])(dict(batch))

    def _unfolded(self, network: Network, clamps: Clamps) -> tuple[dict[str, Float[Array, ""]], Float[Array, "..."]]:
        """Return (energy of the output's term by its name, the prediction of the output) after T sweeps."""
        given = {name: clamp for name, clamp in clamps.items() if name != network.output}
        states = Sweeps(self.steps)(network, given, key=jax.random.key(0))
        name, term = next((n, t) for n, t in graph.predictions(network.terms).items() if t.target == network.output)
        prediction = term.predict(states)
        target = clamps.get(network.output)  # type: ignore[arg-type]
        energies = {} if target is None else {name: term.density.energy(target, prediction)}  # type: ignore[arg-type]
        return energies, term.density.mean(prediction)
