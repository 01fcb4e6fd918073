"""Precisions: the spring constants of Gaussian terms; scalar, diagonal or full, fixed or learned."""

import abc
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .parameters import Frozen


class AbstractPrecision(eqx.Module):
    r"""A symmetric positive definite matrix $\Pi = \Sigma^{-1}$ that acts on the prediction error of one sample.

    `learned` precisions are trained by the gradient of the same energy that trains the weights.
    """

    learned: eqx.AbstractVar[bool]

    @abc.abstractmethod
    def times(self, error: Float[Array, "*node"]) -> Float[Array, "*node"]:
        r"""Return $\Pi\varepsilon$."""

    @abc.abstractmethod
    def solve(self, signal: Float[Array, "*node"]) -> Float[Array, "*node"]:
        r"""Return $\Pi^{-1}v$."""

    @abc.abstractmethod
    def root(self, signal: Float[Array, "*node"]) -> Float[Array, "*node"]:
        r"""Return $Rv$ for a fixed matrix R with $RR^\top = \Pi$."""

    @abc.abstractmethod
    def log_determinant(self, size: int) -> Float[Array, ""]:
        r"""Return $\log\det\Pi$ for a node with `size` units."""

    def misfit(self, node: tuple[int, ...]) -> str | None:
        """Say what the array must be for a node of this shape and what it is; None where it fits."""
        del node
        return None


class ScalarPrecision(AbstractPrecision):
    r"""One number for all units, $\Pi = \pi I$. A learned one is stored as $\log\pi$, so that it stays positive.

    Raises:
        ValueError: if `value` is not a positive number.
    """

    value: float | Array  # a fixed value is a Python number: a factor of one then costs nothing
    learned: bool = eqx.field(static=True)

    def __init__(self, value: float = 1.0, *, learned: bool = False):
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"precision must be a positive finite number, got {value}.")
        self.value = jnp.asarray(math.log(value), float) if learned else float(value)
        self.learned = learned

    def times(self, error: Float[Array, "*node"]) -> Float[Array, "*node"]:
        return (jnp.exp(self.value) if self.learned else self.value) * error

    def solve(self, signal: Float[Array, "*node"]) -> Float[Array, "*node"]:
        return (jnp.exp(-self.value) if self.learned else 1 / self.value) * signal

    def root(self, signal: Float[Array, "*node"]) -> Float[Array, "*node"]:
        return (jnp.exp(self.value / 2) if self.learned else self.value**0.5) * signal

    def log_determinant(self, size: int) -> Float[Array, ""]:
        return size * (jnp.asarray(self.value) if self.learned else jnp.log(self.value))


class DiagonalPrecision(AbstractPrecision):
    r"""One number per unit (or per channel: any shape that broadcasts to the node), $\Pi = \mathrm{diag}(\pi)$.

    Raises:
        ValueError: if an entry of `value` is not positive and finite.
    """

    value: Frozen | Array
    learned: bool = eqx.field(static=True)

    def __init__(self, value: Float[Array, "*node"], *, learned: bool = False):
        entries = np.asarray(value)
        if not (np.all(np.isfinite(entries)) and np.all(entries > 0)):
            raise ValueError(f"every entry of a diagonal precision must be positive, got {entries.min()}.")
        self.value = jnp.log(jnp.asarray(value, float)) if learned else Frozen(jnp.asarray(value, float))
        self.learned = learned

    def _diagonal(self) -> Array:
        return self.value.value if isinstance(self.value, Frozen) else jnp.exp(self.value)

    def times(self, error: Float[Array, "*node"]) -> Float[Array, "*node"]:
        return self._diagonal() * error

    def solve(self, signal: Float[Array, "*node"]) -> Float[Array, "*node"]:
        return signal / self._diagonal()

    def root(self, signal: Float[Array, "*node"]) -> Float[Array, "*node"]:
        return jnp.sqrt(self._diagonal()) * signal

    def log_determinant(self, size: int) -> Float[Array, ""]:
        log = jnp.log(self._diagonal()) if isinstance(self.value, Frozen) else self.value
        return jnp.sum(log) * (size / log.size)

    def misfit(self, node: tuple[int, ...]) -> str | None:
        got = _array(self.value).shape
        if len(got) <= len(node) and all(g in (1, n) for g, n in zip(got[::-1], node[::-1], strict=False)):
            return None
        return f"a diagonal precision of shape {node}, or of one that broadcasts to it, got {got}"


class FullPrecision(AbstractPrecision):
    r"""A full matrix over the flattened node; a learned one is stored as Cholesky factor with a log-diagonal.

    Raises:
        ValueError: if `value` is not square, symmetric and positive definite.
    """

    value: Frozen | Array
    learned: bool = eqx.field(static=True)

    def __init__(self, value: Float[Array, "n n"], *, learned: bool = False):
        matrix = np.asarray(value, float)
        square = matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1]
        if not square or not np.allclose(matrix, matrix.T, rtol=1e-6, atol=1e-8):
            raise ValueError(f"a full precision must be a symmetric square matrix, got shape {matrix.shape}.")
        if np.linalg.eigvalsh(matrix).min() <= 0:
            raise ValueError("a full precision must be positive definite; its smallest eigenvalue is not positive.")
        if learned:
            factor = np.linalg.cholesky(matrix)
            raw = np.tril(factor, -1) + np.diag(np.log(np.diag(factor)))
            self.value = jnp.asarray(raw, float)
        else:
            self.value = Frozen(jnp.asarray(matrix, float))
        self.learned = learned

    def times(self, error: Float[Array, "*node"]) -> Float[Array, "*node"]:
        flat = error.reshape(-1)
        if isinstance(self.value, Frozen):
            return (self.value.value @ flat).reshape(error.shape)
        factor = self._factor()
        return (factor @ (factor.T @ flat)).reshape(error.shape)

    def solve(self, signal: Float[Array, "*node"]) -> Float[Array, "*node"]:
        return jax.scipy.linalg.cho_solve((self._factor(), True), signal.reshape(-1)).reshape(signal.shape)

    def root(self, signal: Float[Array, "*node"]) -> Float[Array, "*node"]:
        return (self._factor() @ signal.reshape(-1)).reshape(signal.shape)

    def _factor(self) -> Float[Array, "n n"]:
        """Return the lower Cholesky factor."""
        if isinstance(self.value, Frozen):
            return jnp.linalg.cholesky(self.value.value)
        return jnp.tril(self.value, -1) + jnp.diag(jnp.exp(jnp.diag(self.value)))

    def log_determinant(self, size: int) -> Float[Array, ""]:
        if isinstance(self.value, Frozen):
            return jnp.linalg.slogdet(self.value.value)[1]
        return 2.0 * jnp.sum(jnp.diag(self.value))

    def misfit(self, node: tuple[int, ...]) -> str | None:
        got = _array(self.value).shape
        size = math.prod(node)
        return None if got == (size, size) else f"a full precision of shape {(size, size)}, got {got}"


class ScaledPrecision(AbstractPrecision):
    r"""$c\,\Pi$: a precision times a factor that is not trained, such as one that is measured for every batch."""

    precision: AbstractPrecision
    factor: Float[Array, ""] | float
    learned: bool = eqx.field(static=True)

    def __init__(self, precision: AbstractPrecision, factor: Float[Array, ""] | float):
        self.precision = precision
        self.factor = factor
        self.learned = precision.learned

    def times(self, error: Float[Array, "*node"]) -> Float[Array, "*node"]:
        return self.factor * self.precision.times(error)

    def solve(self, signal: Float[Array, "*node"]) -> Float[Array, "*node"]:
        return self.precision.solve(signal) / self.factor

    def root(self, signal: Float[Array, "*node"]) -> Float[Array, "*node"]:
        return self.factor**0.5 * self.precision.root(signal)

    def log_determinant(self, size: int) -> Float[Array, ""]:
        return self.precision.log_determinant(size) + size * jnp.log(self.factor)

    def misfit(self, node: tuple[int, ...]) -> str | None:
        return self.precision.misfit(node)


def _array(value: Frozen | Array) -> Array:
    return value.value if isinstance(value, Frozen) else value
