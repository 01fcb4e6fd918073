"""Predictive coding that keeps the states of every training sample from one visit to the next."""

import dataclasses
from collections.abc import Callable

import equinox as eqx
import jax
from jaxtyping import Array, PRNGKeyArray

from ..algorithms.contract import AbstractLearner, Info, TrainState, apply_gradient, diverged_fraction
from ..algorithms.pc import PC
from ..core.clamp import Clamps
from ..core.initialise import Given
from ..core.network import Network

#: Under this name a batch gives the place of each of its samples among all that are stored.
ROW = "row"


class KeptStates(AbstractLearner):
    """Predictive coding with memory: the states of a sample go on where they ended when it was last seen.

    A few solver steps a visit then add up over the epochs, where a start from nothing stays as far from the minimum
    as those few steps reach: with a free latent that decides how much of a sample its states explain at all.

    Arguments:
        algorithm: predictive coding; its initialiser serves the first visit alone.
        clamps: gives the clamps of all samples, in the order of their places; a function, so that a compiled step does
            not hold them.

    What the solver remembers (momentum) begins anew at every visit.

    Raises:
        ValueError: if the algorithm has a forward update, which needs states that start without the target.

    Cost: that of the algorithm, and the memory of all states.
    """

    algorithm: PC
    clamps: Callable[[], Clamps] = eqx.field(static=True)

    def __check_init__(self) -> None:
        if self.algorithm.forward_update:
            raise ValueError("states that are kept hold the target, so forward_update cannot start without it.")

    def init(self, network: Network, *, key: PRNGKeyArray) -> TrainState:
        state = self.algorithm.init(network, key=key)
        clamps = self.clamps()
        keys = jax.random.split(key, jax.tree.leaves(dict(clamps))[0].shape[0])
        first = jax.jit(jax.vmap(lambda sample, k: self.algorithm.initial(network, sample, key=k)))(clamps, keys)
        kept = {name: states for name, states in first.items() if name not in clamps}
        return dataclasses.replace(state, memory=kept)

    def step(self, state: TrainState, batch: Clamps, *, key: PRNGKeyArray) -> tuple[TrainState, Info]:
        clamps = {name: clamp for name, clamp in batch.items() if name != ROW}
        rows: Array = batch[ROW]  # type: ignore[assignment]
        start = Given({name: states[rows] for name, states in state.memory.items()})
        going_on = dataclasses.replace(self.algorithm, initial=start)
        signal = going_on.signal(state.network, clamps, epoch=state.epoch, key=key)
        assert signal.relaxation is not None
        ends = signal.relaxation.states
        memory = {name: states.at[rows].set(ends[name]) for name, states in state.memory.items()}
        info = Info(signal.energies, None, diverged_fraction(signal))
        state = apply_gradient(state, self.algorithm.optimiser, signal.gradient)
        return dataclasses.replace(state, memory=memory), info
