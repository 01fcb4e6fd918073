"""Which leaves of a model are trained: every inexact array that does not stand under `Frozen`."""

from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, PyTree


class Frozen(eqx.Module):
    """An array that belongs to the model and is never trained (a fixed precision, a running statistic)."""

    value: Array


def _is_frozen(node: Any) -> bool:
    return isinstance(node, Frozen)


def trainable(model: PyTree) -> PyTree:
    """Return a tree of booleans shaped like `model`: true at the leaves that learning rules may change."""

    def mark(node: Any) -> PyTree:
        if _is_frozen(node):
            return jax.tree.map(lambda _: False, node)
        return eqx.is_inexact_array(node)

    return jax.tree.map(mark, model, is_leaf=_is_frozen)


def split(model: PyTree) -> tuple[PyTree, PyTree]:
    """Split `model` into (trained part, the rest), each with None where the other has its leaves."""
    return eqx.partition(model, trainable(model))


def count_parameters(model: PyTree) -> int:
    """Return the number of trained parameters."""
    return sum(leaf.size for leaf in jax.tree.leaves(split(model)[0]))
