"""Couplings between the units of two nodes, of which some may be missing: dense with a mask, or a list of edges."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_batching import custom_vmap
from jax.custom_derivatives import SymbolicZero
from jax.experimental import sparse
from jaxtyping import Array, Bool, Float, Int

from .activation import Activation


class DenseEdges(eqx.Module):
    r"""$(M \odot W)\,x$ with a fixed mask M; None where every coupling is there.

    Cost: m n multiplications, however few couplings there are.
    """

    weight: Float[Array, "m n"]
    mask: Bool[Array, "m n"] | None

    def __init__(self, weight: Float[np.ndarray, "m n"], mask: Bool[np.ndarray, "m n"]):
        self.weight = jnp.asarray(np.where(mask, weight, 0))
        self.mask = None if mask.all() else jnp.asarray(mask)

    def __call__(self, state: Float[Array, "n"]) -> Float[Array, "m"]:
        return (self.weight if self.mask is None else self.weight * self.mask) @ state


class Plan(eqx.Module):
    """Where the edges of a sparse matrix lie, by rows and by columns, so that both products only read in order."""

    rows: Int[Array, "edges"]
    columns: Int[Array, "edges"]
    row_starts: Int[Array, "starts"]
    by_column: Int[Array, "edges"]  # the edges in the order of their columns
    rows_by_column: Int[Array, "edges"]
    column_starts: Int[Array, "column_starts"]


class SparseEdges(eqx.Module):
    r"""$W x$ with weights on the given edges alone; the same function as `DenseEdges`.

    Cost: one multiplication an edge for a product, forward and back. The gradient in the weights reads two numbers an
    edge and sample, which is slower than a dense product above some percent of the couplings.

    Gradients have derivatives in every direction (`Newton`, `largest_curvature`); the product itself is differentiated
    backward alone, so that `GaussNewton` needs `DenseEdges`.
    """

    values: Float[Array, "edges"]
    plan: Plan

    def __init__(self, weight: Float[np.ndarray, "m n"], mask: Bool[np.ndarray, "m n"]):
        rows, columns = np.nonzero(mask)
        by_column = np.lexsort((rows, columns))
        places = (
            *(rows, columns, _starts(rows, mask.shape[0])),
            *(by_column, rows[by_column], _starts(columns, mask.shape[1])),
        )
        self.values = jnp.asarray(weight[rows, columns])
        self.plan = Plan(*(jnp.asarray(place, jnp.int32) for place in places))

    def __call__(self, state: Float[Array, "n"]) -> Float[Array, "m"]:
        return _product(self.values, self.plan, state)


class Gathered(eqx.Module):
    r"""$\hat x = \psi\big(b + \sum_s W_s\,\phi(x_s)\big)$: one node from several, some couplings missing.

    Arguments:
        blocks: the couplings from each source, in the order of the sources.
        bias: one number a unit.
        before: $\phi$, elementwise on the sources.
        after: $\psi$, elementwise on the sum.
        shape: shape of the target.
    """

    blocks: tuple[DenseEdges | SparseEdges, ...]
    bias: Float[Array, "m"]
    before: Activation
    after: Activation
    shape: tuple[int, ...] = eqx.field(static=True)

    def __call__(self, *sources: Float[Array, "..."]) -> Float[Array, "..."]:
        # One product a source: where a source is clamped, the compiler then evaluates its product once for all steps.
        drives = (block(self.before(s.reshape(-1))) for block, s in zip(self.blocks, sources, strict=True))
        return self.after(sum(drives, start=self.bias)).reshape(self.shape)


def count_edges(blocks: Sequence[DenseEdges | SparseEdges]) -> int:
    """Return the number of couplings."""
    total = 0
    for block in blocks:
        if isinstance(block, SparseEdges):
            total += block.values.size
        else:
            total += block.weight.size if block.mask is None else int(block.mask.sum())
    return total


def _starts(sorted_or_not: Int[np.ndarray, "edges"], size: int) -> Int[np.ndarray, "starts"]:
    return np.concatenate([[0], np.cumsum(np.bincount(sorted_or_not, minlength=size))])


@jax.custom_vjp
def _product(values: Array, plan: Plan, state: Array) -> Array:
    return _rows_times(values, plan.columns, plan.row_starts, state)


def _product_forward(values: Array, plan: Plan, state: Array) -> tuple[Array, tuple[Array, Plan, Array]]:
    return _rows_times(values, plan.columns, plan.row_starts, state), (values, plan, state)


def _product_backward(kept: tuple[Array, Plan, Array], signal: Array) -> tuple[Array, None, Array]:
    values, plan, state = kept
    back = _rows_times(values[plan.by_column], plan.rows_by_column, plan.column_starts, signal)
    return signal[plan.rows] * state[plan.columns], None, back


_product.defvjp(_product_forward, _product_backward)


@jax.custom_jvp
def _rows_times(values: Array, columns: Array, starts: Array, state: Array) -> Array:
    return _kernel(values, columns, starts, state)


def _rows_times_ahead(primals: tuple[Array, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
    """Carry tangents forward; both rules above are made of this product, so that gradients have derivatives too."""
    values, columns, starts, state = primals
    ahead = jnp.zeros(starts.size - 1, jnp.result_type(values, state))
    if not isinstance(tangents[3], SymbolicZero):
        ahead = _rows_times(values, columns, starts, tangents[3])
    if not isinstance(tangents[0], SymbolicZero):
        ahead = ahead + _rows_times(tangents[0], columns, starts, state)
    return _rows_times(*primals), ahead


_rows_times.defjvp(_rows_times_ahead, symbolic_zeros=True)


@custom_vmap
def _kernel(values: Array, columns: Array, starts: Array, state: Array) -> Array:
    return sparse.BCSR((values, columns, starts), shape=(starts.size - 1, state.size)) @ state


@_kernel.def_vmap
def _batched(
    size: int, batched: Sequence[bool], values: Array, columns: Array, starts: Array, states: Array
) -> tuple[Array, bool]:
    """Multiply the states of a batch at once: the CPU has a kernel for a compressed matrix times a dense one."""
    del size
    if any(batched[:3]):
        raise ValueError("the weights of sparse couplings must be the same for every sample.")
    shape = (starts.size - 1, states.shape[1])
    return (sparse.BCSR((values, columns, starts), shape=shape) @ states.T).T, True
