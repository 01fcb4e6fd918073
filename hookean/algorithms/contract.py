"""The contract of an algorithm: `init`, `step`, `predict`; and the one way in which a gradient becomes an update."""

import abc
import dataclasses
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from ..core import graph
from ..core.clamp import Clamps, whole
from ..core.density import Gaussian
from ..core.initialise import AbstractInitialiser
from ..core.network import Network
from ..core.parameters import split
from ..core.term import Prediction
from ..inference.relax import Relaxation, relax
from ..inference.solver import AbstractSolver


class TrainState(eqx.Module):
    """What the next step needs: the network, the optimiser's memory, where training stands, the algorithm's memory."""

    network: Network
    optimiser: Any
    updates: Int[Array, ""]
    epoch: Int[Array, ""]
    memory: Any = None


class Info(eqx.Module):
    """What a person wants to see of a step.

    Attributes:
        energies: batch mean of each term's energy in nats, where the weights learned.
        outputs: what the network predicted for its output node before it learned, or None where it has none.
        diverged: fraction of the samples whose states are no longer finite.
    """

    energies: dict[str, Float[Array, ""]]
    outputs: Float[Array, "batch *output"] | None
    diverged: Float[Array, ""]


class Signal(eqx.Module):
    """The weight gradient of one batch and what it came from.

    Attributes:
        gradient: a tree shaped like the network, None where nothing is trained.
        energies: batch mean of each term's energy in nats at the states that the gradient was taken at.
        relaxation: how inference went; None where the algorithm has no relaxation.
        network: the network whose energy was relaxed, where it is not the one given (precisions measured on a batch).
        states: the states that the weights learned from, where they do not stand in the relaxation; or None.
        outputs: what the network predicted for its output node, where the algorithm knows it already; or None.
    """

    gradient: PyTree
    energies: dict[str, Float[Array, ""]]
    relaxation: Relaxation | None
    states: dict[str, Array] | None = None
    network: Network | None = None
    outputs: Float[Array, "batch *output"] | None = None

    def settled(self) -> dict[str, Array] | None:
        """Return the states that the weights learned from; None where the algorithm has no inference."""
        return self.states if self.relaxation is None else self.relaxation.states


@dataclasses.dataclass(frozen=True)
class Needs:
    """What an algorithm needs beyond the states at both ends of a connection.

    Attributes:
        weight_transport: errors go down through copies of the forward weights, transposed.
        symmetric_weights: one weight acts in both directions of its connection at once.
        backward_pass: errors go through the layers one after the other in a pass of its own, while activities are held.
        phases: how many kinds of time a global signal must tell all layers apart (relaxing and learning are two).
    """

    weight_transport: bool = False
    symmetric_weights: bool = False
    backward_pass: bool = False
    phases: int = 1

    def words(self) -> list[str]:
        """Return what is needed, in words."""
        said = {
            "weight transport": self.weight_transport,
            "symmetric weights": self.symmetric_weights,
            "backward pass": self.backward_pass,
        }
        return [word for word, needed in said.items() if needed] + (
            [f"{self.phases} phases"] if self.phases > 1 else []
        )


class AbstractLearner(eqx.Module):
    """What a training loop drives: it learns from one batch after the other, and its weights stand in a train state."""

    @abc.abstractmethod
    def init(self, network: Network, *, key: PRNGKeyArray) -> TrainState:
        """Return the state before the first batch."""

    @abc.abstractmethod
    def step(self, state: TrainState, batch: Clamps, *, key: PRNGKeyArray) -> tuple[TrainState, Info]:
        """Learn from one batch."""


class AbstractAlgorithm(AbstractLearner):
    """A way to train a network from batches of clamped values.

    The fields are the algorithm's own settings; the rule that turns gradients into weight changes is `optimiser`.

    Facts: `label`, what tables call it; `reference`, its source; `cost`, in words, per batch; `needs`, what it needs
    that is not local.
    """

    label: ClassVar[str]
    reference: ClassVar[str]
    cost: ClassVar[str]
    needs: ClassVar[Needs]
    optimiser: eqx.AbstractVar[optax.GradientTransformation]

    def init(self, network: Network, *, key: PRNGKeyArray) -> TrainState:
        """Return the state before the first batch.

        Raises:
            ValueError: if the algorithm cannot train this network.
        """
        del key
        self.check(network)
        # Two counters, two buffers: a buffer that is donated to the compiled step may stand only once in the state.
        updates, epoch = jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32)
        return TrainState(network, self.optimiser.init(split(network)[0]), updates, epoch)

    @abc.abstractmethod
    def check(self, network: Network) -> None:
        """Raise ValueError, before anything compiles, if the algorithm cannot train this network."""

    @abc.abstractmethod
    def updates_per_batch(self) -> int:
        """Return how often a step changes the weights; rate schedules are stretched by it."""

    def passes(self, network: Network) -> int | None:
        """Return how many signals a batch sends once through the whole network, forward or backward.

        The energy gradient in all states is one signal each way, and so is the gradient in the weights, which needs
        no more than that. Backpropagation has 2. None says that nobody has counted.
        """
        del network
        return None

    @abc.abstractmethod
    def signal(
        self, network: Network, batch: Clamps, *, epoch: Int[Array, ""] | int, key: PRNGKeyArray, record: bool = False
    ) -> Signal:
        """Return the weight gradient that the algorithm draws from a batch, without changing anything.

        Arguments:
            batch: node -> values with a leading batch axis; the clamps of training.
            epoch: number of epochs before this one, for schedules.
            record: keep energies and the gradient norm at every relaxation step.
        """

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
        """Return the signal of an algorithm whose memory is `memory` (`TrainState.memory`).

        Default: `signal`, for algorithms whose memory changes no gradient. Where it does, see
        `AbstractRememberingAlgorithm`.
        """
        del memory
        return self.signal(network, batch, epoch=epoch, key=key, record=record)

    def remember(self, state: TrainState, batch: Clamps, *, key: PRNGKeyArray) -> Any:
        """Return the memory that the signal of this batch is drawn with, and that stands in the next train state.

        Default: the memory as it is.
        """
        del batch, key
        return state.memory

    def predict(self, network: Network, batch: Clamps) -> Float[Array, "batch *output"]:
        """Return the prediction of the output node; a clamp on it is ignored.

        Default: a forward pass (probabilities where the output is categorical).
        """
        return forward_outputs(network, batch)

    def class_energies(self, network: Network, inputs: Float[Array, "batch *input"]) -> Float[Array, "batch classes"]:
        r"""Return the energy of every class as the label of every sample in nats: $p(c\,|\,x) \propto \exp(-E_c(x))$.

        Tasks take accuracy and probabilities from it. Default: the energy of the output term with the one-hot target
        $e_c$ at the states of a forward pass. An algorithm that finds its answer by other means (trying every label,
        relaxing with a free output) has its own.
        """
        return jax.vmap(lambda sample: forward_class_energies(network, sample))(inputs)


class AbstractRememberingAlgorithm(AbstractAlgorithm):
    """An algorithm whose signal depends on its memory: feedback weights, running means."""

    def signal(
        self, network: Network, batch: Clamps, *, epoch: Int[Array, ""] | int, key: PRNGKeyArray, record: bool = False
    ) -> Signal:
        """Return the signal of the memory that `init` draws from the same key."""
        memory = self.init(network, key=key).memory
        return self.remembered_signal(memory, network, batch, epoch=epoch, key=key, record=record)

    @abc.abstractmethod
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
        """Return the signal of the algorithm with this memory (`TrainState.memory`)."""


def apply_gradient(state: TrainState, optimiser: optax.GradientTransformation, gradient: PyTree) -> TrainState:
    """Return the train state after one weight update."""
    trained, rest = split(state.network)
    updates, memory = optimiser.update(gradient, state.optimiser, trained)
    network = eqx.combine(optax.apply_updates(trained, updates), rest)
    return TrainState(network, memory, state.updates + 1, state.epoch, state.memory)


def forward_outputs(network: Network, batch: Clamps) -> Float[Array, "batch *output"]:
    """Return what a forward pass predicts for the output node of every sample; a clamp on it is ignored.

    Raises:
        ValueError: if the network names no output.
    """
    output = require_output(network)
    given = {name: clamp for name, clamp in batch.items() if name != output}
    size = jax.tree.leaves(dict(batch))[0].shape[0]  # a decoder whose data are clamped is given nothing else
    return eqx.filter_vmap(lambda sample: network.forward(sample)[output], axis_size=size)(given)


def forward_class_energies(network: Network, sample: Float[Array, "*input"]) -> Float[Array, "classes"]:
    r"""Return $E(e_c, \hat y)$ for every class c: the energy of the output term at the forward states of one sample.

    For a categorical output it is $-\log p(c\,|\,x)$ itself; for a Gaussian one with precision 1 its softmax is that of
    the outputs, for targets are all of one length.

    Raises:
        ValueError: if the network has no input, no output, or nothing predicts the output.
    """
    term = output_term(network)
    return energies_of_classes(term, term.predict(network.forward({network.input: sample})))  # type: ignore[dict-item]


def relaxed_outputs(
    network: Network, batch: Clamps, *, solver: AbstractSolver, steps: int, initial: AbstractInitialiser
) -> Float[Array, "batch *output"]:
    """Return what is predicted for the output node of every sample; a clamp on it is ignored.

    By a forward pass, or, where cycles leave none or couplings move the minimum away from it, by the output's term at
    the states relaxed with the output free.
    """
    if _has_forward(network, batch):
        return forward_outputs(network, batch)
    mean = output_term(network).density.mean
    return jax.vmap(mean)(_relaxed_prediction(network, batch, solver=solver, steps=steps, initial=initial))


def relaxed_class_energies(
    network: Network,
    inputs: Float[Array, "batch *input"],
    *,
    solver: AbstractSolver,
    steps: int,
    initial: AbstractInitialiser,
) -> Float[Array, "batch classes"]:
    """Return the energy of every class in nats at the states that `relaxed_outputs` answers from."""
    term, batch = output_term(network), {network.input: inputs}
    if _has_forward(network, batch):  # type: ignore[arg-type]
        return jax.vmap(lambda sample: forward_class_energies(network, sample))(inputs)
    found = _relaxed_prediction(network, batch, solver=solver, steps=steps, initial=initial)  # type: ignore[arg-type]
    return jax.vmap(lambda prediction: energies_of_classes(term, prediction))(found)


def _has_forward(network: Network, batch: Clamps) -> bool:
    """Say whether a forward pass from the clamps, without one on the output, is the minimum of the energy.

    It is where the predictions have an order, and no coupling pulls at a free node.
    """
    held = set(batch) - {network.output}
    couplings = set(network.terms) - set(graph.predictions(network.terms))
    pulled = any(set(network.terms[name].nodes) - held for name in couplings)
    return not pulled and not graph.forward_order(network.terms, held)[1]


def _relaxed_prediction(
    network: Network, batch: Clamps, *, solver: AbstractSolver, steps: int, initial: AbstractInitialiser
) -> Float[Array, "batch *output"]:
    """Return what the output's term predicts (logits where it is categorical) after relaxing with the output free."""
    given = {name: clamp for name, clamp in batch.items() if name != network.output}
    key = jax.random.key(0)  # the same answer whenever it is asked
    states = relax(network, given, solver=solver, steps=steps, initial=initial, unroll=False, key=key).states
    return jax.vmap(output_term(network).predict)(states)


def energies_of_classes(term: Prediction, prediction: Float[Array, "classes"]) -> Float[Array, "classes"]:
    """Return the energy of a term in nats with each one-hot target, for what it predicts (logits where categorical)."""
    return jax.vmap(lambda target: term.density.energy(target, prediction))(jnp.eye(prediction.size))


def output_term(network: Network) -> Prediction:
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


def steps_on(network: Network, steps: int | None) -> int:
    """Return the number of relaxation steps: one for every term where none is given, enough to cross the network."""
    return len(network.terms) if steps is None else steps


def require_output(network: Network) -> str:
    """Return the name of the output node, or raise ValueError where the network has none."""
    if network.output is None:
        raise ValueError("the network must name its output node: Network(..., output='name').")
    return network.output


def require_unit_hidden(network: Network, rule: str) -> None:
    """Raise ValueError where a node below the output has another density than a Gaussian with precision 1."""
    for name, term in graph.predictions(network.terms).items():
        unit = isinstance(term.density, Gaussian) and eqx.tree_equal(term.density, Gaussian())
        if term.target != network.output and not unit:
            raise ValueError(f"{rule} needs Gaussian hidden terms with precision 1; '{name}' has another density.")


def require_fixed_densities(network: Network, rule: str) -> None:
    """Raise ValueError where a density learns, for rules whose signal has no part for it."""
    for name, term in graph.predictions(network.terms).items():
        if term.density.learns():
            raise ValueError(f"{rule} does not learn a precision, but that of '{name}' is learned. Use PC or BP.")


def require_whole(batch: Clamps, rule: str) -> None:
    """Raise ValueError where a clamp has a mask, for rules that hold nodes as a whole."""
    masked = sorted(set(batch) - whole(batch))
    if masked:
        raise ValueError(f"{rule} holds nodes as a whole, but the clamp on {', '.join(masked)} has a mask. Use PC.")


def diverged_fraction(signal: Signal) -> Float[Array, ""]:
    """Return the fraction of samples whose states are no longer finite; 0 where nothing relaxes."""
    if signal.relaxation is not None:
        return jnp.mean(signal.relaxation.diverged())
    if signal.states is None:
        return jnp.zeros(())
    finite = [jnp.all(jnp.isfinite(s.reshape(s.shape[0], -1)), axis=1) for s in signal.states.values()]
    return jnp.mean(~jnp.all(jnp.stack(finite), axis=0))


def learn_once(
    algorithm: AbstractAlgorithm, state: TrainState, batch: Clamps, *, key: PRNGKeyArray
) -> tuple[TrainState, Info]:
    """Renew the memory, take the signal and update the weights once: the step of all that relax, then learn."""
    memory = algorithm.remember(state, batch, key=key)
    state = dataclasses.replace(state, memory=memory)
    signal = algorithm.remembered_signal(memory, state.network, batch, epoch=state.epoch, key=key)
    outputs = signal.outputs
    if outputs is None and state.network.output is not None and set(batch) - {state.network.output}:
        outputs = algorithm.predict(state.network, batch)
    info = Info(signal.energies, outputs, diverged_fraction(signal))
    return apply_gradient(state, algorithm.optimiser, signal.gradient), info
