"""Prediction functions over time: a node whose state is a sequence, predicted at each step from the steps before it."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from .activation import Activation
from .checks import at_least
from .layers import Dense, identity

#: Where a sequence is read: after its last step, or at each step.
Readout = Literal["last", "each"]


def check_readout(readout: str) -> None:
    """Raise unless a sequence is read after its last step or at each step."""
    if readout not in ("last", "each"):
        raise ValueError(f"readout must be last or each, got '{readout}'.")


class Cell(eqx.Module):
    r"""$\hat h_t = \phi\big(U x_t + b + W f(c_t)\big)$: the prediction of one step from its input and its context.

    Elman's cell has the activation outside ($\phi = \tanh$, f the identity). A state-space model, and the temporal
    predictive coding of Millidge et al. (2024), has it inside (f = tanh, $\phi$ the identity).

    Attributes:
        input: U and b.
        recurrent: W, units times size of the context.
        before, after: f and $\phi$, elementwise.
        layers: layers between these units and the state (none in Elman's network; up to the output in Jordan's).
    """

    input: eqx.nn.Linear
    recurrent: Float[Array, "m c"]
    before: Activation
    after: Activation
    layers: tuple[Dense, ...] = ()

    @property
    def size(self) -> int:
        """Number of units of a state."""
        return self.layers[-1].linear.weight.shape[0] if self.layers else self.recurrent.shape[0]

    def drive(self, state: Float[Array, "*input"]) -> Float[Array, "m"]:
        """Return what does not depend on the past, $U x_t + b$: it is taken for all steps at once."""
        return self.input(state.reshape(-1))

    def __call__(self, drive: Float[Array, "m"], context: Float[Array, "c"]) -> Float[Array, "k"]:
        state = self.after(drive + self.recurrent @ self.before(context))
        for layer in self.layers:
            state = layer(state)
        return state


def steps_of(inputs: int | Sequence[int]) -> tuple[int, int]:
    """Return (steps, units a step) of a sample: an image is read row by row, a vector one number a step."""
    shape = (inputs,) if isinstance(inputs, int) else tuple(inputs)
    at_least("the number of steps", shape[0], 1)
    return shape[0], math.prod(shape[1:])


def cell(
    inputs: int, units: int, context: int, *, radius: float, before: Activation, after: Activation, key: PRNGKeyArray
) -> Cell:
    r"""Return a cell with $U, b$ uniform in $\pm 1/\sqrt{\text{inputs}}$ and W orthogonal times `radius`."""
    key_input, key_recurrent = jax.random.split(key)
    recurrent = jax.nn.initializers.orthogonal(radius)(key_recurrent, (units, context))
    return Cell(eqx.nn.Linear(inputs, units, key=key_input), recurrent, before, after)


class Recurrent(eqx.Module):
    r"""A sequence predicted from its own past: $\hat h_t = \mathrm{cell}(x_t, c_t)$, $c_{t+1} = \alpha c_t + h_t$.

    In a term its target is its last source. The energy of the term is then a sum over the steps, the states of all
    steps are free at once, and what a step predicts is local in time: $\varepsilon_t$ reads $h_t$ and its past alone.

    Arguments:
        cell: the prediction of one step.
        decay: $\alpha$ in [0, 1): 0 (default) takes the step before as context (Elman), more adds a fading trace of all
            earlier ones (Jordan).
        window: truncation of gradients through `roll`: so many steps back; None (default) does not truncate.
        sliding: with a window, every step reaches so many steps back; otherwise windows lie side by side. With a decay
            one context holds all earlier steps, which sliding windows would not cut.

    Raises:
        ValueError: if windows slide over contexts with a decay.
    """

    cell: Cell
    decay: float = eqx.field(static=True, default=0.0)
    window: int | None = eqx.field(static=True, default=None)
    sliding: bool = eqx.field(static=True, default=False)

    def __check_init__(self) -> None:
        if not 0 <= self.decay < 1:
            raise ValueError(f"decay must be in [0, 1), got {self.decay}.")
        if self.window is not None:
            at_least("window", self.window, 1)
            if self.sliding and self.decay > 0:
                raise ValueError(
                    f"sliding windows need contexts that are the step before (decay 0), got a decay of {self.decay}: "
                    "its context holds all earlier steps. Use windows side by side (sliding=False)."
                )

    def __call__(self, *sources: Float[Array, "steps ..."]) -> Float[Array, "steps k"]:
        *inputs, states = sources
        return jax.vmap(self.cell)(jax.vmap(self.cell.drive)(*inputs), self.contexts(states))

    def contexts(self, states: Float[Array, "steps k"]) -> Float[Array, "steps k"]:
        """Return the context that each step sees; the first one is zero."""
        if self.decay == 0:
            return jnp.concatenate([jnp.zeros_like(states[:1]), states[:-1]])
        return jax.lax.scan(lambda c, s: (self.advance(c, s), c), jnp.zeros_like(states[0]), states)[1]

    def advance(self, context: Float[Array, "*k"], state: Float[Array, "*k"]) -> Float[Array, "*k"]:
        """Return the context of the next step."""
        return self.decay * context + state

    def roll(
        self,
        *inputs: Float[Array, "steps ..."],
        mean: Callable[[Array], Array] = identity,
        errors: Float[Array, "steps k"] | None = None,
    ) -> Float[Array, "steps k"]:
        """Return the sequence whose error at every step is `errors` (default: none), each step from its own past.

        Arguments:
            mean: from a prediction to a state (the density's).
        """
        drives = jax.vmap(self.cell.drive)(*inputs)
        if errors is None:
            errors = jnp.zeros((len(drives), self.cell.size))

        def step(
            context: Float[Array, "k"], now: tuple[Array, Float[Array, "m"], Float[Array, "k"]]
        ) -> tuple[Float[Array, "k"], Float[Array, "k"]]:
            t, drive, error = now
            if self.window is not None and not self.sliding:
                context = jnp.where(t % self.window == 0, jax.lax.stop_gradient(context), context)
            state = mean(self.cell(drive, context)) + error
            return self.advance(context, state), state

        steps = (jnp.arange(len(errors)), drives, errors)
        states = jax.lax.scan(step, jnp.zeros_like(errors[0]), steps)[1]
        if self.window is not None and self.sliding:
            # A sequence that predicts itself stays what it is; each time around reaches one step further back.
            states = jax.lax.stop_gradient(states)
            for _ in range(self.window):
                states = jax.vmap(mean)(self(*inputs, states)) + errors
        return states


class EachStep(eqx.Module):
    """One layer at every step of a sequence."""

    layer: Callable[..., Array]

    def __call__(self, *states: Float[Array, "steps ..."]) -> Float[Array, "steps ..."]:
        return jax.vmap(self.layer)(*states)


class LastStep(eqx.Module):
    """A layer at the last step of a sequence."""

    layer: Callable[..., Array]

    def __call__(self, *states: Float[Array, "steps ..."]) -> Float[Array, "..."]:
        return self.layer(*(state[-1] for state in states))


class Activated(eqx.Module):
    """A layer after an activation: the readout of states that stand before theirs."""

    layer: Dense
    activation: Activation = identity

    def __call__(self, state: Float[Array, "*source"]) -> Float[Array, "k"]:
        return self.layer(self.activation(state))


def truncated(network: PyTree, window: int | None, *, sliding: bool) -> PyTree:
    """Return the network whose sequences pass gradients back over `window` steps at the most, see `Recurrent`."""

    def shortened(node: Any) -> Any:
        return dataclasses.replace(node, window=window, sliding=sliding) if isinstance(node, Recurrent) else node

    return jax.tree.map(shortened, network, is_leaf=lambda node: isinstance(node, Recurrent))
