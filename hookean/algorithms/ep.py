"""Equilibrium propagation: the contrast of a free equilibrium and one that the loss pulls at."""

from typing import ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..core import graph
from ..core.checks import at_least, positive
from ..core.clamp import Clamps, value
from ..core.initialise import Given, Zero
from ..core.network import Network
from ..core.term import Coupling
from ..inference.projected import Projected
from ..inference.relax import Relaxation, relax
from ..inference.solver import AbstractSolver
from ..learning.contrast import centred
from ..learning.energy_gradient import energy_gradient
from .contract import AbstractAlgorithm, Info, Needs, Signal, TrainState, learn_once, require_output


class EP(AbstractAlgorithm):
    r"""Equilibrium propagation: relax freely, relax again under a nudge $\beta C$, learn from the difference.

    With $C = \frac12\lVert y - t\rVert^2$, $s^\beta$ the equilibrium of $E + \beta C$ and $g^\beta$ the slope of E
    in the weights there, the loss at the free equilibrium has the slope $\lim_{\beta\to 0} (g^\beta - g^0)/\beta$. Two
    phases of opposite sign, $(g^\beta - g^{-\beta})/2\beta$, have an error of order $\beta^2$ in place of $\beta$. The
    nudge is a term, $\beta C$, on a clamped target node.

    Networks: any energy with an output that nothing clamps, such as `hopfield_mlp`.

    Arguments:
        beta: strength of the nudge (default 0.5).
        phases: "centred" contrasts $+\beta$ and $-\beta$; "positive" contrasts $+\beta$ and the free phase; "random"
            draws the sign of $\beta$ for every batch (the first published code).
        free_steps: steps of the free phase, from zero (default 20); they are those of a prediction as well.
        nudged_steps: steps of a nudged phase, from the free equilibrium (default 4).
        solver: how states move (default: gradient steps of 0.5 in the range 0 to 1).
        optimiser: the weight rule; it sees the batch mean.

    Cost: an energy gradient for every step, and one in the weights for each of the two contrasted states.

    Source: Scellier & Bengio (2017), theorem 1; Laborieux et al. (2021), eq. 9, for two signs. The first code
    starts the free phase of a sample where that of the epoch before ended; here it starts from zero.
    """

    beta: float = 0.5
    phases: Literal["centred", "positive", "random"] = "centred"
    free_steps: int = 20
    nudged_steps: int = 4
    solver: AbstractSolver = Projected()
    optimiser: optax.GradientTransformation = optax.adam(1e-3)

    label: ClassVar[str] = "EP"
    reference: ClassVar[str] = "Scellier & Bengio, Frontiers in Computational Neuroscience 11 (2017)"
    cost: ClassVar[str] = "an energy gradient a step of the free and the nudged phases, and two in the weights"
    needs: ClassVar[Needs] = Needs(symmetric_weights=True, phases=3)

    def __check_init__(self) -> None:
        positive("beta", self.beta)
        at_least("free_steps", self.free_steps, 1)
        at_least("nudged_steps", self.nudged_steps, 1)
        if self.phases not in ("centred", "positive", "random"):
            raise ValueError(f"phases must be centred, positive or random, got '{self.phases}'.")

    def check(self, network: Network) -> None:
        require_output(network)
        free = graph.unpredicted(network.terms)
        if network.input is None and free:
            raise ValueError(
                f"EP needs a network that names its input node, got none, and nothing predicts {', '.join(free)}. "
                "Use Network(..., input='name'), or PC where such a node is free, as in a decoder."
            )

    def updates_per_batch(self) -> int:
        return 1

    def passes(self, network: Network) -> int:
        del network
        phases = 2 if self.phases == "centred" else 1
        return (self.free_steps + phases * self.nudged_steps) * self.solver.passes + 4

    def signal(
        self, network: Network, batch: Clamps, *, epoch: Int[Array, ""] | int, key: PRNGKeyArray, record: bool = False
    ) -> Signal:
        del epoch
        output = require_output(network)
        key, key_sign = jax.random.split(key)
        clamps = {name: clamp for name, clamp in batch.items() if name != output}
        free = self._free(network, clamps, key=key, record=record)
        beta = jnp.asarray(self.beta)
        if self.phases == "random":
            beta = beta * jax.random.rademacher(key_sign, (), float)
        rising = self._nudged(network, batch, free, beta, key=key)
        base, energies = energy_gradient(network, free.states)
        if self.phases == "centred":
            falling = self._nudged(network, batch, free, -beta, key=key)
            gradient = centred(rising, falling, beta)
        else:
            gradient = jax.tree.map(lambda g, g0: (g - g0) / beta, rising, base)
        return Signal(gradient, energies, free, outputs=free.states[output])

    def step(self, state: TrainState, batch: Clamps, *, key: PRNGKeyArray) -> tuple[TrainState, Info]:
        return learn_once(self, state, batch, key=key)

    def predict(self, network: Network, batch: Clamps) -> Float[Array, "batch *output"]:
        """Return the output at the free equilibrium; a clamp on it is ignored."""
        output = require_output(network)
        clamps = {name: clamp for name, clamp in batch.items() if name != output}
        return self._free(network, clamps, key=jax.random.key(0)).states[output]

    def class_energies(self, network: Network, inputs: Float[Array, "batch *input"]) -> Float[Array, "batch classes"]:
        r"""Return the loss $\frac12\lVert y - e_c\rVert^2$ of every class c at the free equilibrium."""
        found = self.predict(network, {network.input: inputs})  # type: ignore[dict-item]
        return 0.5 * jnp.sum((found[:, None] - jnp.eye(found.shape[1])) ** 2, axis=-1)

    def _free(self, network: Network, clamps: Clamps, *, key: PRNGKeyArray, record: bool = False) -> Relaxation:
        return relax(network, clamps, solver=self.solver, steps=self.free_steps, initial=Zero(), record=record, key=key)

    def _nudged(
        self, network: Network, batch: Clamps, free: Relaxation, beta: Float[Array, ""], *, key: PRNGKeyArray
    ) -> Network:
        """Return the energy's gradient in the weights at the equilibrium under the nudge, from the free one."""
        output = require_output(network)
        target = f"target of {output}"
        pulled = Network(
            network.shapes | {target: network.shapes[output]},
            network.terms | {f"pull on {output}": Coupling((output, target), Pull(beta))},
            input=network.input,
            output=output,
        )
        held = {name: clamp for name, clamp in batch.items() if name != output}
        settled = relax(
            pulled,
            held | {target: value(batch[output])},
            solver=self.solver,
            steps=self.nudged_steps,
            initial=Given(free.states),
            key=key,
        )
        return energy_gradient(network, {name: settled.states[name] for name in network.shapes})[0]


class Pull(eqx.Module):
    r"""$\frac\beta2 \lVert y - t\rVert^2$: a spring between output and target; it pushes where $\beta < 0$."""

    beta: Float[Array, ""]

    def __call__(self, output: Float[Array, "*y"], target: Float[Array, "*y"]) -> Float[Array, ""]:
        return 0.5 * self.beta * jnp.sum((output - target) ** 2)
