r"""Coordinates: in which variables the states relax. Both views describe the same energy of the same network."""

import abc
from collections.abc import Mapping

import equinox as eqx
from jaxtyping import Array

from . import graph
from .clamp import Clamps, Masked, impose, value, whole
from .network import Network


class AbstractCoordinates(eqx.Module):
    """A change of variables between the free variables that a solver moves and the states of all nodes.

    `local` says that moving the variable of a node moves the state of that node alone, so that terms which touch no
    moved node stay as they are.
    """

    local: eqx.AbstractClassVar[bool]

    @abc.abstractmethod
    def variables(self, network: Network, states: Mapping[str, Array], clamps: Clamps) -> dict[str, Array]:
        """Return the free variables that stand for `states`: one for every node that is not clamped as a whole."""

    @abc.abstractmethod
    def states(self, network: Network, variables: Mapping[str, Array], clamps: Clamps) -> dict[str, Array]:
        """Return the states of all nodes, with every clamp in force."""


class StateCoordinates(AbstractCoordinates):
    """The free variables are the states themselves."""

    local = True

    def variables(self, network: Network, states: Mapping[str, Array], clamps: Clamps) -> dict[str, Array]:
        held = whole(clamps)
        return {name: states[name] for name in network.shapes if name not in held}

    def states(self, network: Network, variables: Mapping[str, Array], clamps: Clamps) -> dict[str, Array]:
        del network
        full = {name: value(clamp) for name, clamp in clamps.items()} | dict(variables)
        return impose(full, clamps)


class ErrorCoordinates(AbstractCoordinates):
    r"""The free variables are the prediction errors: $x_i = \hat x_i(x_{pa(i)}) + \varepsilon_i$, in topological order.

    A node that nothing predicts keeps its state as its variable. Nodes on a cycle have no such order.

    Source: Goemaere et al., error-based predictive coding (2025).

    Raises:
        ValueError: if the free part of the graph has a cycle, or a predicted node is clamped in part (the held part
            would then depend on the errors).
    """

    local = False

    def variables(self, network: Network, states: Mapping[str, Array], clamps: Clamps) -> dict[str, Array]:
        free = {name: states[name] for name in network.shapes if name not in whole(clamps)}
        for term in self._ordered(network, clamps):
            free[term.target] = term.error(states)
        return free

    def states(self, network: Network, variables: Mapping[str, Array], clamps: Clamps) -> dict[str, Array]:
        states = impose({name: value(clamp) for name, clamp in clamps.items()} | dict(variables), clamps)
        for term in self._ordered(network, clamps):
            states[term.target] = term.forward(states, variables[term.target])
        return impose(states, clamps)

    def _ordered(self, network: Network, clamps: Clamps) -> list:
        order, cyclic = graph.forward_order(network.terms, clamps)
        if cyclic:
            raise ValueError(
                f"error coordinates need a topological order, but these nodes lie on or behind a cycle: "
                f"{', '.join(cyclic)}. Use StateCoordinates()."
            )
        terms = graph.predictions(network.terms)
        partial = [n for n, c in clamps.items() if isinstance(c, Masked) and any(t.target == n for t in terms.values())]
        if partial:
            raise ValueError(
                f"error coordinates cannot hold a part of a predicted node: {', '.join(partial)}. "
                "Use StateCoordinates()."
            )
        return [terms[name] for name in order]
