"""The contract of a rule that learns features by itself, from samples alone and without an energy."""

import abc
from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, Float, PRNGKeyArray


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


def learn_all(
    rule: AbstractRule, learned: Any, batches: Float[Array, "steps batch inputs"], factors: Float[Array, "steps"]
) -> Any:
    """Return what the rule knows after all batches, in order, each with its factor on the rates."""

    def one(learned: Any, step: tuple[Array, Array]) -> tuple[Any, None]:
        return rule.learn(learned, step[0], factor=step[1]), None

    return jax.lax.scan(one, learned, (batches, factors))[0]
