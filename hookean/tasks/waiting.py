"""Update locking, counted and lifted: the products that a layer waits for before it learns, and learning unwaited."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

from ..algorithms.contract import AbstractAlgorithm, TrainState
from ..core.clamp import Clamps
from ..core.parameters import split

#: What takes time in a network: everything else is elementwise.
PRODUCTS = ("dot_general", "conv_general_dilated")


def products_in_sequence(function: Callable[..., PyTree], *arguments: PyTree) -> PyTree:
    """Return for every array that a function returns the length of the longest chain of products that leads to it.

    Matrix products that do not wait for each other count once, however many they are. A loop counts once a turn.

    Arguments:
        function: from trees of arrays to a tree of arrays; it is traced, not run.

    Raises:
        ValueError: if it has a loop whose number of turns is not known.
    """
    closed, shape = jax.make_jaxpr(function, return_shape=True)(*arguments)
    return jax.tree.unflatten(jax.tree.structure(shape), _depths(closed.jaxpr, [0] * len(closed.jaxpr.invars)))


def _depths(jaxpr: Any, arguments: Sequence[int]) -> list[int]:
    """Return the depth of every result of a traced program, from those of its arguments."""
    found = dict(zip(jaxpr.invars, arguments, strict=True))

    def depth(variable: Any) -> int:
        return 0 if isinstance(variable, jax.extend.core.Literal) else found.get(variable, 0)

    for equation in jaxpr.eqns:
        given = [depth(variable) for variable in equation.invars]
        name, options = equation.primitive.name, equation.params
        inner: Any = next((options[key] for key in ("jaxpr", "call_jaxpr", "fun_jaxpr") if key in options), None)
        if name == "while":
            raise ValueError("products can be counted in loops of a known length alone: set no tolerance.")
        if name == "scan":
            results = _looped(inner.jaxpr, given, options["length"], options["num_consts"], options["num_carry"])
        elif name == "cond":
            branches = [_depths(branch.jaxpr, given[1:]) for branch in options["branches"]]
            results = [max(given[0], *depths) for depths in zip(*branches, strict=True)]
        elif inner is not None:
            results = _depths(getattr(inner, "jaxpr", inner), given)
        else:
            results = [max(given, default=0) + (name in PRODUCTS)] * len(equation.outvars)
        found |= dict(zip(equation.outvars, results, strict=True))
    return [depth(variable) for variable in jaxpr.outvars]


def _looped(body: Any, given: list[int], turns: int, constants: int, carried: int) -> list[int]:
    """Return the depths after so many turns of a loop."""
    fixed, carry, rows = given[:constants], given[constants : constants + carried], given[constants + carried :]
    stacked: list[int] = [0] * (len(body.outvars) - carried)
    for _ in range(turns):
        results = _depths(body, [*fixed, *carry, *rows])
        carry, out = results[:carried], results[carried:]
        stacked = [max(pair) for pair in zip(stacked, out, strict=True)]
    return [*carry, *stacked]


def awaited(algorithm: AbstractAlgorithm, state: TrainState, batch: Clamps) -> PyTree:
    """Return for every trained array how many products in sequence its layer waits for before it learns.

    Counted from the moment at which the layer has answered to the sample: of the longest chain of products from the
    batch to the new weights, what is left without the forward pass up to this layer and the product of the update
    itself. Where a batch brings several updates, their mean.

    Arguments:
        state: a train state of a chain of layers, from the input to the output.
    """
    arrays, static = eqx.partition(state, eqx.is_array)

    def learned(arrays: PyTree, batch: Clamps) -> PyTree:
        after, _ = algorithm.step(eqx.combine(arrays, static), batch, key=jax.random.key(0))
        return split(after.network)[0]

    depths, tree = jax.tree.flatten(products_in_sequence(learned, arrays, dict(batch)))
    matrices = [leaf.ndim > 1 for leaf in jax.tree.leaves(split(state.network)[0])]
    layer, left = 0, []
    for matrix, depth in zip(matrices, depths, strict=True):
        layer += matrix  # a matrix comes first, then the bias of its layer, whose update is no product
        left.append(max(0, math.ceil(depth / algorithm.updates_per_batch()) - layer - matrix))
    return jax.tree.unflatten(tree, left)


def delayed(steps: PyTree) -> optax.GradientTransformation:
    """Return a rule that hands on the gradient of so many steps ago, for every array its own number; zero at first."""

    def init(weights: PyTree) -> tuple[Array, PyTree]:
        waiting = jax.tree.map(lambda w, n: jnp.zeros((n, *w.shape), w.dtype), weights, steps)
        return jnp.zeros((), jnp.int32), waiting

    def update(gradient: PyTree, state: tuple[Array, PyTree], _: PyTree = None) -> tuple[PyTree, Any]:
        count, waiting = state

        def due(new: Array, old: Array) -> Array:
            return old[count % len(old)] if len(old) else new

        def kept(new: Array, old: Array) -> Array:
            return old.at[count % len(old)].set(new) if len(old) else old

        return jax.tree.map(due, gradient, waiting), (count + 1, jax.tree.map(kept, gradient, waiting))

    return optax.GradientTransformation(init, update)


def masked() -> optax.GradientTransformation:
    """Return a rule that multiplies every update with the mask in its state, which is ones at first."""
    return optax.GradientTransformation(
        lambda weights: jax.tree.map(jnp.ones_like, weights),
        lambda updates, mask, _=None: (jax.tree.map(jnp.multiply, updates, mask), mask),
    )
