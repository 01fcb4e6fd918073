"""Monte Carlo predictive coding: learn from samples of the posterior in the place of its maximum."""

import dataclasses
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, PRNGKeyArray

from ..core.checks import at_least
from ..core.clamp import Clamps
from ..core.coordinates import AbstractCoordinates, StateCoordinates
from ..core.initialise import AbstractInitialiser, Forward, Given
from ..core.network import Network
from ..inference.chain import Chains, walk
from ..inference.gradient import Gradient
from ..inference.langevin import Langevin
from ..inference.relax import Relaxation, Result, relax
from ..inference.solver import AbstractSolver
from ..inference.stepwise import Stepwise
from ..learning.energy_gradient import energy_gradient
from .contract import (
    AbstractAlgorithm,
    Info,
    Needs,
    Signal,
    TrainState,
    apply_gradient,
    learn_once,
)


class MCPC(AbstractAlgorithm):
    r"""Monte Carlo predictive coding: settle, mix, then learn from the mean gradient over samples of the posterior.

    $x \leftarrow x - \eta\,\partial E/\partial x$ (`warm` times), then Langevin steps
    $x \leftarrow x - \gamma\,\partial E/\partial x + N(0, 2\gamma)$: `mixing` of them are thrown away, and over the
    next `samples` the weight gradient is averaged,

    $W \leftarrow W - \frac{\alpha}{S} \sum_{s=1}^{S} \overline{\partial E/\partial W}\big|_{x_s}$.

    At unit temperature the mean is an estimate of $-\partial \log p(\text{clamped}) / \partial W$ (Fisher's identity),
    where predictive coding takes the gradient at the most probable states alone: MCPC is maximum likelihood by
    Monte Carlo EM, and learns how far the data spread.

    With more than one of `updates` the chain of a batch goes on where it stands after each weight update, so that a
    long chain pays for many of them: Monte Carlo EM with persistent chains, as far as a batch lasts.

    Arguments:
        solver: how the warm start moves (default: gradient descent with rate 0.05 per sample).
        warm: steps of the warm start (default 8).
        chain: how samples are drawn (default: Langevin dynamics at unit temperature, rate 0.01).
        mixing: steps between the warm start and the first sample (default 8; the published nets take 50 on 1,000).
        samples: S, steps whose gradients are averaged (default 8; published: 100; 1 in the benchmark's code, which
            learns from the last of its steps).
        every: k, steps of the chain from one sample to the next (default 1, as published): neighbours differ little.
        updates: U, weight updates a batch, each after S more samples of its chain (default 1, as published).
        initial: where states start.
        coordinates: states, or prediction errors; the change between them keeps volumes, so both sample the same
            posterior.
        optimiser: the weight rule; it sees the mean over samples and batch.

    Cost: warm + mixing + (k + 1) S U gradients of the energy a batch.

    Source: Oliviers, Bogacz & Meulemans, PLOS Computational Biology (2024).
    """

    solver: AbstractSolver = Gradient()
    warm: int = 8
    chain: Langevin = Langevin()
    mixing: int = 8
    samples: int = 8
    every: int = 1
    updates: int = 1
    initial: AbstractInitialiser = Forward()
    coordinates: AbstractCoordinates = StateCoordinates()
    optimiser: optax.GradientTransformation = optax.adam(1e-3)

    label: ClassVar[str] = "MCPC"
    reference: ClassVar[str] = "Oliviers, Bogacz & Meulemans, PLOS Computational Biology (2024)"
    cost: ClassVar[str] = "warm + mixing + (k + 1) S U energy gradients"
    needs: ClassVar[Needs] = Needs(symmetric_weights=True, phases=3)

    def __check_init__(self) -> None:
        for name, least in (("warm", 0), ("mixing", 0), ("samples", 1), ("every", 1), ("updates", 1)):
            at_least(name, getattr(self, name), least)

    def check(self, network: Network) -> None:
        del network

    def updates_per_batch(self) -> int:
        return self.updates

    def passes(self, network: Network) -> int:
        del network
        chain = self.mixing + (self.every + 1) * self.samples * self.updates
        return self.warm * self.solver.passes + chain * self.chain.passes

    def signal(
        self, network: Network, batch: Clamps, *, epoch: Int[Array, ""] | int, key: PRNGKeyArray, record: bool = False
    ) -> Signal:
        del epoch
        key_start, key_samples = jax.random.split(key)
        relaxation, stepwise, chains = self._start(network, batch, key_start, record)
        chains, (gradient, energies) = self._average(stepwise, network, batch, chains, key_samples)
        return Signal(gradient, energies, self._ended(relaxation, chains))

    def _start(
        self, network: Network, batch: Clamps, key: PRNGKeyArray, record: bool = False
    ) -> tuple[Relaxation, Stepwise, Chains]:
        """Return (the warm start, what drives the chains, the chains after mixing)."""
        key_warm, key_mixing = jax.random.split(key)
        relaxation = relax(
            network,
            batch,
            solver=self.solver,
            steps=self.warm,
            initial=self.initial,
            coordinates=self.coordinates,
            record=record,
            key=key_warm,
        )
        stepwise = Stepwise(self.chain, Given(relaxation.states), self.coordinates)
        chains = Chains(*stepwise.init(network, batch, key=key_mixing))
        return relaxation, stepwise, walk(stepwise, network, batch, chains, steps=self.mixing, key=key_mixing)

    def _ended(self, relaxation: Relaxation, chains: Chains) -> Relaxation:
        """Return the warm start with the states of the chains, where noise has touched every term."""
        result = self._result(relaxation, chains)
        return dataclasses.replace(relaxation, states=chains.states, result=result, untouched=frozenset())

    def _result(self, relaxation: Relaxation, chains: Chains) -> Any:
        """Return how each sample ended: as its warm start did, or diverged where its chain did."""
        kinds: Any = Result  # its members are not strings, whatever a type checker thinks

        def one(states: dict[str, Array], result: Any) -> Any:
            finite = jnp.stack([jnp.all(jnp.isfinite(state)) for state in states.values()])
            return kinds.where(jnp.all(finite), result, kinds.diverged)

        return eqx.filter_vmap(one)(chains.states, relaxation.result)

    def _average(
        self, stepwise: Stepwise, network: Network, batch: Clamps, chains: Chains, key: PRNGKeyArray
    ) -> tuple[Chains, Any]:
        """Return (the chains, means over the samples of the weight gradient and of the energies)."""

        def body(carry: tuple[Chains, Any], key: PRNGKeyArray) -> tuple[tuple[Chains, Any], None]:
            chains, total = carry
            chains = walk(stepwise, network, batch, chains, steps=self.every, key=key)
            return (chains, jax.tree.map(jnp.add, total, energy_gradient(network, chains.states))), None

        nothing = jax.eval_shape(lambda states: energy_gradient(network, states), chains.states)
        start = (chains, jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), nothing))
        (chains, total), _ = jax.lax.scan(body, start, jax.random.split(key, self.samples))
        return chains, jax.tree.map(lambda leaf: leaf / self.samples, total)

    def step(self, state: TrainState, batch: Clamps, *, key: PRNGKeyArray) -> tuple[TrainState, Info]:
        if self.updates == 1:
            return learn_once(self, state, batch, key=key)
        key_start, key_updates = jax.random.split(key)
        outputs = None
        if state.network.output is not None and set(batch) - {state.network.output}:
            outputs = self.predict(state.network, batch)
        relaxation, stepwise, chains = self._start(state.network, batch, key_start)
        arrays, static = eqx.partition(state, eqx.is_array)

        def body(carry: tuple[Chains, Any], key: PRNGKeyArray) -> tuple[tuple[Chains, Any], dict[str, Array]]:
            chains, state = carry[0], eqx.combine(carry[1], static)
            chains, (gradient, energies) = self._average(stepwise, state.network, batch, chains, key)
            state = apply_gradient(state, self.optimiser, gradient)
            return (chains, eqx.filter(state, eqx.is_array)), energies

        keys = jax.random.split(key_updates, self.updates)
        (chains, arrays), energies = jax.lax.scan(body, (chains, arrays), keys)
        diverged = jnp.mean(self._ended(relaxation, chains).diverged())
        last = {name: value[-1] for name, value in energies.items()}
        return eqx.combine(arrays, static), Info(last, outputs, diverged)
