"""The network: named nodes, named terms, and the energy that is their sum. Everything here is for one sample."""

from collections.abc import Collection, Mapping, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..registry import nearest
from . import graph
from .clamp import Clamps, impose, value
from .density import Gaussian
from .parameters import split
from .term import AbstractTerm, Prediction


class Network(eqx.Module):
    r"""Nodes with states and the terms that couple them: $E(x) = \sum_k E_k(x)$ in nats per sample.

    Any directed graph is allowed: chains, skips, several sources, cycles, lateral and symmetric couplings. States,
    terms and energies are addressed by name. The order in which nodes and terms are given is the order of reports.

    Arguments:
        nodes: name -> shape of the state of one sample (an integer stands for a vector).
        terms: the terms: a mapping name -> term, or a sequence of predictions, each named after its target.
        input: the node where tasks put the data of a sample; None where there is none.
        output: the node where tasks put the target; None where there is none.

    Raises:
        ValueError: if a sequence holds a term that is no prediction, a term names an unknown node, a prediction has not
            the shape of its target, or a precision does not fit it. Nothing is compiled before these checks.
    """

    node_shapes: tuple[tuple[str, tuple[int, ...]], ...] = eqx.field(static=True)
    term_names: tuple[str, ...] = eqx.field(static=True)
    term_list: tuple[AbstractTerm, ...]
    input: str | None = eqx.field(static=True)
    output: str | None = eqx.field(static=True)

    def __init__(
        self,
        nodes: Mapping[str, int | Sequence[int]],
        terms: Mapping[str, AbstractTerm] | Sequence[Prediction],
        *,
        input: str | None = None,
        output: str | None = None,
    ):
        named = dict(terms) if isinstance(terms, Mapping) else _by_target(terms)
        self.node_shapes = tuple(
            (name, (shape,) if isinstance(shape, int) else tuple(shape)) for name, shape in nodes.items()
        )
        self.term_names = tuple(named)
        self.term_list = tuple(named.values())
        self.input = input
        self.output = output
        _check(self)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name of each node -> shape of its state for one sample."""
        return dict(self.node_shapes)

    @property
    def terms(self) -> dict[str, AbstractTerm]:
        """Name -> term, in the given order."""
        return dict(zip(self.term_names, self.term_list, strict=True))

    @property
    def dtype(self) -> jnp.dtype:
        """Number type of the trained weights; the default one of JAX where there are none."""
        return jnp.result_type(*jax.tree.leaves(split(self.term_list)[0]), 0.0)

    def zeros(self) -> dict[str, Array]:
        """Return name -> zero, for every node, of the type of the weights."""
        return {name: jnp.zeros(shape, self.dtype) for name, shape in self.node_shapes}

    def energies(
        self,
        states: Mapping[str, Array],
        *,
        only: Collection[str] | None = None,
        constants: Mapping[str, Array] | None = None,
        errors: Mapping[str, Array] | None = None,
    ) -> dict[str, Float[Array, ""]]:
        """Return the energy of each term in nats.

        Arguments:
            states: name -> state, for every node.
            only: the terms to evaluate (default: all).
            constants: predictions that are known already, by term; they are not evaluated again.
            errors: errors of Gaussian terms that are known better than states and predictions differ, by term.
        """
        known, exact = constants or {}, errors or {}
        energies = {}
        for name, term in self.terms.items():
            if only is not None and name not in only:
                continue
            if name in exact and isinstance(term, Prediction):
                energies[name] = term.energy_of_error(exact[name], states)
            elif name in known and isinstance(term, Prediction):
                energies[name] = term.density.energy(states[term.target], known[name])
            else:
                energies[name] = term(states)
        return energies

    def energy(self, states: Mapping[str, Array]) -> Float[Array, ""]:
        """Return the energy in nats: the sum over all terms."""
        return jnp.asarray(sum(self.energies(states).values(), start=0.0))

    def predictions(self, states: Mapping[str, Array], *, only: Collection[str] | None = None) -> dict[str, Array]:
        """Return the prediction of each prediction term (logits for categorical and Bernoulli terms)."""
        found = graph.predictions(self.terms)
        return {name: term.predict(states) for name, term in found.items() if only is None or name in only}

    def errors(self, states: Mapping[str, Array]) -> dict[str, Array]:
        """Return the prediction error of each prediction term, shaped like its target."""
        return {name: term.error(states) for name, term in graph.predictions(self.terms).items()}

    def forward(self, clamps: Clamps) -> dict[str, Array]:
        """Evaluate every prediction in topological order: the states of a plain forward pass.

        Clamped nodes keep their values, a node that nothing predicts and nothing clamps is zero.

        Raises:
            ValueError: if the graph has a cycle that no clamp breaks.
        """
        order, cyclic = graph.forward_order(self.terms, clamps)
        if cyclic:
            raise ValueError(
                f"a forward pass needs a topological order, but these nodes lie on or behind a cycle: "
                f"{', '.join(cyclic)}. Clamp one of them, or start from Sweeps(), Zero(), Normal() or Given()."
            )
        states = self.zeros()
        states |= {name: value(clamp) for name, clamp in clamps.items()}
        found = graph.predictions(self.terms)
        for name in order:
            term = found[name]
            states[term.target] = term.forward(states)
        return impose(states, clamps)

    def sweep(self, states: Mapping[str, Array], clamps: Clamps) -> dict[str, Array]:
        r"""Return the states after every prediction was written into its target at once: $x \leftarrow \hat x(x)$.

        It needs no order, so cycles do not matter. Clamped entries and nodes that nothing predicts keep their values.
        Where several terms predict one node the first one gives its value.
        """
        swept = dict(states)
        for term in reversed(graph.predictions(self.terms).values()):
            swept[term.target] = term.density.mean(term.predict(states))
        return impose(swept, clamps)


def _by_target(terms: Sequence[AbstractTerm]) -> dict[str, AbstractTerm]:
    named: dict[str, AbstractTerm] = {}
    for term in terms:
        if not isinstance(term, Prediction):
            raise ValueError(
                f"a sequence of terms holds predictions, each named after its target, got a {type(term).__name__}: "
                "give the terms as a mapping name -> term."
            )
        if term.target in named:
            raise ValueError(
                f"two terms predict '{term.target}': give the terms as a mapping name -> term so that each has a name."
            )
        named[term.target] = term
    return named


def _check(network: Network) -> None:
    shapes = network.shapes
    for role, name in (("input", network.input), ("output", network.output)):
        if name is not None and name not in shapes:
            raise ValueError(f"{role} must be a node, got '{name}'. {nearest(name, shapes)}")
    states = {name: jax.ShapeDtypeStruct(shape, jnp.result_type(float)) for name, shape in shapes.items()}
    for name, term in network.terms.items():
        for node in term.nodes:
            if node not in shapes:
                raise ValueError(f"term '{name}' names the node '{node}', which is unknown. {nearest(node, shapes)}")
        if isinstance(term, Prediction):
            got = eqx.filter_eval_shape(term.predict, states)
            if tuple(got.shape) != shapes[term.target]:
                raise ValueError(
                    f"term '{name}' predicts an array of shape {tuple(got.shape)}, "
                    f"but its target '{term.target}' has shape {shapes[term.target]}."
                )
            density = term.density
            if isinstance(density, Gaussian) and (misfit := density.precision.misfit(shapes[term.target])):
                raise ValueError(f"term '{name}' on the node '{term.target}' needs {misfit}.")
        elif (got := eqx.filter_eval_shape(term, states)).shape != ():
            raise ValueError(f"term '{name}' must return a scalar energy, got shape {tuple(got.shape)}.")
