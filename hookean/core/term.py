"""Terms: what the energy is a sum of. A term is a function of named states, for one sample, in nats."""

import abc
from collections.abc import Callable, Mapping, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .density import AbstractDensity, Gaussian
from .recurrent import Recurrent


class AbstractTerm(eqx.Module):
    """A contribution to the energy. Its parameters are its leaves; `nodes` are the only states it reads."""

    nodes: eqx.AbstractVar[tuple[str, ...]]

    @abc.abstractmethod
    def __call__(self, states: Mapping[str, Array]) -> Float[Array, ""]:
        """Return the energy of one sample in nats."""


class Prediction(AbstractTerm):
    r"""One node predicted from others: $\hat x = f(x_{pa}; W)$, with the energy of the deviation given by a density.

    Arguments:
        target: the node that is predicted.
        sources: the node or nodes that it is predicted from, in the order in which `function` takes them.
        function: any callable from the states of the sources to an array of the target's shape, for one sample.
            Its arrays are the weights (every Equinox layer serves). `Recurrent` predicts a sequence from itself, and
            needs the target as the last source.
        density: how the target may deviate (default: Gaussian with precision 1).

    Raises:
        ValueError: if a recurrent function has not its target as the last source.
    """

    nodes: tuple[str, ...] = eqx.field(static=True)  # the target, then the sources that are not the target itself
    target: str = eqx.field(static=True)
    sources: tuple[str, ...] = eqx.field(static=True)
    function: Callable[..., Array]
    density: AbstractDensity

    def __init__(
        self,
        target: str,
        sources: str | Sequence[str],
        function: Callable[..., Array],
        density: AbstractDensity | None = None,
    ):
        self.target = target
        self.sources = (sources,) if isinstance(sources, str) else tuple(sources)
        self.function = function
        self.density = Gaussian() if density is None else density
        self.nodes = tuple(dict.fromkeys((self.target, *self.sources)))
        if isinstance(function, Recurrent) and self.sources[-1] != target:
            raise ValueError(
                f"a recurrent prediction of '{target}' needs '{target}' as its last source, "
                f"got {', '.join(self.sources)}."
            )

    @property
    def needs(self) -> tuple[str, ...]:
        """The sources that a forward pass must know first: all but the target's own past."""
        return self.sources[:-1] if isinstance(self.function, Recurrent) else self.sources

    def predict(self, states: Mapping[str, Array]) -> Array:
        r"""Return $\hat x$, shaped like the target (logits where the density is categorical or Bernoulli)."""
        return self.function(*(states[name] for name in self.sources))

    def forward(self, states: Mapping[str, Array], error: Array | None = None) -> Array:
        r"""Return the target's state in a forward pass: $E[x\,|\,\hat x]$, plus an error where one is given.

        A sequence is rolled out: each step is predicted from the steps before it, with their errors.
        """
        if isinstance(self.function, Recurrent):
            return self.function.roll(*(states[name] for name in self.needs), mean=self.density.mean, errors=error)
        state = self.density.mean(self.predict(states))
        return state if error is None else state + error

    def error(self, states: Mapping[str, Array]) -> Array:
        r"""Return $\varepsilon = x - E[x\,|\,\hat x]$, shaped like the target."""
        return states[self.target] - self.density.mean(self.predict(states))

    def energy_of_error(self, error: Array, states: Mapping[str, Array]) -> Float[Array, ""]:
        r"""Return the energy at a given error of a Gaussian, in place of the difference of state and prediction.

        Derivatives are those of the energy at $x = \hat x + \varepsilon$ with x held. The numbers are better: where the
        error is far smaller than the state, the difference is mostly rounding.
        """
        predicted = self.predict(states)
        error = error + (jax.lax.stop_gradient(predicted) - predicted)
        return self.density.energy(error, jnp.zeros_like(error))

    def __call__(self, states: Mapping[str, Array]) -> Float[Array, ""]:
        return self.density.energy(states[self.target], self.predict(states))


class Coupling(AbstractTerm):
    r"""A term that is no prediction: $E = g(x_1, \ldots, x_k)$; a lateral or symmetric coupling, a prior, a penalty.

    Arguments:
        nodes: the node or nodes it couples, in the order in which `function` takes them.
        function: any callable from their states to a scalar in nats, for one sample.
    """

    nodes: tuple[str, ...] = eqx.field(static=True)
    function: Callable[..., Float[Array, ""]]

    def __init__(self, nodes: str | Sequence[str], function: Callable[..., Float[Array, ""]]):
        self.nodes = (nodes,) if isinstance(nodes, str) else tuple(nodes)
        self.function = function

    def __call__(self, states: Mapping[str, Array]) -> Float[Array, ""]:
        return self.function(*(states[name] for name in self.nodes))
