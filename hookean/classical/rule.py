"""The contract of a rule that learns features by itself, from samples alone and without an energy."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..core.checks import at_least, positive


class AbstractRule(eqx.Module):
    """A layer of units that learns from what it sees. Its fields are settings; what it learns is a tree of arrays."""

    units: eqx.AbstractVar[int]

    @abc.abstractmethod
    def init(self, inputs: int, *, key: PRNGKeyArray) -> Any:
        """Return what the rule knows before the first sample.

        Arguments:
            inputs: numbers in a sample.
        """

    @abc.abstractmethod
    def respond(self, learned: Any, sample: Float[Array, "inputs"]) -> Float[Array, "units"]:
        """Return the output of every unit for one sample."""

    @abc.abstractmethod
    def learn(self, learned: Any, batch: Float[Array, "batch inputs"], *, factor: float | Array = 1.0) -> Any:
        """Return what is known after one batch: the mean of the samples' changes.

        Arguments:
            factor: on the rates, for schedules.
        """

    @abc.abstractmethod
    def filters(self, learned: Any) -> Float[Array, "units inputs"]:
        """Return the weights from the inputs."""


class AbstractComponents(AbstractRule):
    r"""Linear units $y = Wx$ that learn by $\Delta W = \eta\,(y x^\top - M(y y^\top)\,W)$; M is the rule's own."""

    rate: eqx.AbstractVar[float]

    def __check_init__(self) -> None:
        at_least("units", self.units, 1)
        positive("rate", self.rate)

    @abc.abstractmethod
    def held(self, products: Float[Array, "units units"]) -> Float[Array, "units units"]:
        r"""Return $M(y y^\top)$, by which units hold each other's weights."""

    def init(self, inputs: int, *, key: PRNGKeyArray) -> Float[Array, "units inputs"]:
        """Return Gaussian weights whose rows have a length of about one."""
        return jax.random.normal(key, (self.units, inputs)) / jnp.sqrt(inputs)

    def respond(self, learned: Float[Array, "units inputs"], sample: Float[Array, "inputs"]) -> Float[Array, "units"]:
        return learned @ sample

    def learn(
        self,
        learned: Float[Array, "units inputs"],
        batch: Float[Array, "batch inputs"],
        *,
        factor: float | Array = 1.0,
    ) -> Float[Array, "units inputs"]:
        y = batch @ learned.T
        change = (y.T @ batch - self.held(y.T @ y) @ learned) / len(batch)
        return learned + factor * self.rate * change

    def filters(self, learned: Float[Array, "units inputs"]) -> Float[Array, "units inputs"]:
        return learned


def learn_all(
    rule: AbstractRule, learned: Any, batches: Float[Array, "steps batch inputs"], factors: Float[Array, "steps"]
) -> Any:
    """Return what the rule knows after all batches, in order, each with its factor on the rates."""

    def one(learned: Any, step: tuple[Array, Array]) -> tuple[Any, None]:
        return rule.learn(learned, step[0], factor=step[1]), None

    return jax.lax.scan(one, learned, (batches, factors))[0]
