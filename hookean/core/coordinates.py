r"""Coordinates: in which variables the states relax. Both views describe the same energy of the same network."""

import abc
from collections.abc import Collection, Mapping

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from . import graph
from .clamp import Clamps, Masked, impose, value, whole
from .density import Gaussian
from .network import Network
from .term import Prediction


class AbstractCoordinates(eqx.Module):
    """A change of variables between the free variables that a solver moves and the states of all nodes.

    `local` says that moving the variable of a node moves the state of that node alone, so that terms which touch no
    moved node stay as they are.
    """

    local: eqx.AbstractClassVar[bool]

    @abc.abstractmethod
    def variables(
        self, network: Network, states: Mapping[str, Array], clamps: Clamps, resting: Collection[str] = ()
    ) -> dict[str, Array]:
        """Return the free variables that stand for `states`: one for every node that is not clamped as a whole.

        Arguments:
            resting: terms that are known to be without error at these states.
        """

    @abc.abstractmethod
    def states(self, network: Network, variables: Mapping[str, Array], clamps: Clamps) -> dict[str, Array]:
        """Return the states of all nodes, with every clamp in force."""

    def errors(self, network: Network, variables: Mapping[str, Array], clamps: Clamps) -> dict[str, Array]:
        """Return name of a Gaussian term -> its error, for the terms whose error is itself a variable."""
        del network, variables, clamps
        return {}

    @abc.abstractmethod
    def energies(
        self,
        network: Network,
        variables: Mapping[str, Array],
        clamps: Clamps,
        *,
        only: Collection[str],
        constants: Mapping[str, Array],
    ) -> dict[str, Float[Array, ""]]:
        """Return the energy of each term in `only`, in nats.

        Arguments:
            constants: predictions that are known already, by term.
        """


class StateCoordinates(AbstractCoordinates):
    """The free variables are the states themselves."""

    local = True

    def variables(
        self, network: Network, states: Mapping[str, Array], clamps: Clamps, resting: Collection[str] = ()
    ) -> dict[str, Array]:
        del resting
        held = whole(clamps)
        return {name: states[name] for name in network.shapes if name not in held}

    def states(self, network: Network, variables: Mapping[str, Array], clamps: Clamps) -> dict[str, Array]:
        del network
        full = {name: value(clamp) for name, clamp in clamps.items()} | dict(variables)
        return impose(full, clamps)

    def energies(
        self,
        network: Network,
        variables: Mapping[str, Array],
        clamps: Clamps,
        *,
        only: Collection[str],
        constants: Mapping[str, Array],
    ) -> dict[str, Float[Array, ""]]:
        return network.energies(self.states(network, variables, clamps), only=only, constants=constants)


class ErrorCoordinates(AbstractCoordinates):
    r"""The free variables are the prediction errors: $x_i = \hat x_i(x_{pa(i)}) + \varepsilon_i$, in topological order.

    A node that nothing predicts keeps its state as its variable. Nodes on a cycle have no such order. Gaussian energies
    are taken of the errors themselves: the difference of a state and its prediction would be the same number, rounded,
    and its gradient would be sent back through the network twice.

    Source: Goemaere et al., error-based predictive coding (2025).

    Raises:
        ValueError: if the free part of the graph has a cycle, or a predicted node is clamped in part (the held part
            would then depend on the errors).
    """

    local = False

    def variables(
        self, network: Network, states: Mapping[str, Array], clamps: Clamps, resting: Collection[str] = ()
    ) -> dict[str, Array]:
        free = {name: states[name] for name in network.shapes if name not in whole(clamps)}
        for name, term in self._ordered(network, clamps).items():
            free[term.target] = jnp.zeros_like(free[term.target]) if name in resting else term.error(states)
        return free

    def states(self, network: Network, variables: Mapping[str, Array], clamps: Clamps) -> dict[str, Array]:
        states = impose({name: value(clamp) for name, clamp in clamps.items()} | dict(variables), clamps)
        for term in self._ordered(network, clamps).values():
            states[term.target] = term.forward(states, variables[term.target])
        return impose(states, clamps)

    def errors(self, network: Network, variables: Mapping[str, Array], clamps: Clamps) -> dict[str, Array]:
        ordered = self._ordered(network, clamps).items()
        return {name: variables[term.target] for name, term in ordered if isinstance(term.density, Gaussian)}

    def energies(
        self,
        network: Network,
        variables: Mapping[str, Array],
        clamps: Clamps,
        *,
        only: Collection[str],
        constants: Mapping[str, Array],
    ) -> dict[str, Float[Array, ""]]:
        terms = graph.predictions(network.terms)
        errors = {n: e for n, e in self.errors(network, variables, clamps).items() if n in only}
        found = {name: terms[name].density.energy(error, jnp.zeros_like(error)) for name, error in errors.items()}
        rest = [name for name in only if name not in errors]
        found |= network.energies(self.states(network, variables, clamps), only=rest, constants=constants)
        return {name: found[name] for name in network.term_names if name in found}

    def _ordered(self, network: Network, clamps: Clamps) -> dict[str, Prediction]:
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
        return {name: terms[name] for name in order}
