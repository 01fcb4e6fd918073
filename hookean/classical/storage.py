r"""Storage rules of Hopfield networks: how patterns $\xi^\mu \in \{-1, 1\}^N$ become weights, and how many fit."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Real
from scipy import optimize


def hebbian(patterns: Real[Array, "p n"]) -> Float[Array, "n n"]:
    r"""Store by outer products: $W = \frac1N \sum_\mu \xi^\mu \xi^{\mu\top}$, without the diagonal.

    Arguments:
        patterns: one a row, entries -1 and 1.

    Cost: P N^2.

    Source: Hopfield (1982), eq. 2.
    """
    patterns = _floating(patterns)
    return _without_diagonal(patterns.T @ patterns / patterns.shape[1])


def storkey(patterns: Real[Array, "p n"]) -> Float[Array, "n n"]:
    r"""Store one pattern after the other, each less what the network says already.

    $W_{ij} \leftarrow W_{ij} + \frac1N(\xi_i \xi_j - \xi_i h_{ji} - h_{ij}\xi_j)$ with the local field
    $h_{ij} = \sum_{k \ne i,j} W_{ik}\xi_k$. Local and incremental as the Hebbian rule, with less crosstalk.

    Arguments:
        patterns: one a row, entries -1 and 1; the order matters a little.

    Cost: P N^2, in P steps.

    Source: Storkey & Valabregue (1999), eq. 2.
    """
    patterns = _floating(patterns)
    n = patterns.shape[1]

    def store(weight: Array, pattern: Array) -> tuple[Array, None]:
        # h_ij = (W xi)_i - W_ij xi_j, and half of the change, which has the same part with i and j exchanged.
        field = (weight @ pattern)[:, None] - weight * pattern[None, :]
        half = jnp.outer(pattern, pattern) / 2 - field * pattern[None, :]
        change = half + half.T
        return _without_diagonal(weight + change / n), None

    return jax.lax.scan(store, jnp.zeros((n, n), patterns.dtype), patterns)[0]


def pseudo_inverse(patterns: Real[Array, "p n"]) -> Float[Array, "n n"]:
    r"""Store by projection on the span of the patterns: $W = X^\top (X X^\top)^{+} X$, without the diagonal.

    With its diagonal W is a projection, so every linearly independent pattern is an eigenvector; without it
    $h_i = (1 - W_{ii})\,\xi_i$, and up to N - 1 patterns stay fixed points. Not local.

    Arguments:
        patterns: X, one a row, entries -1 and 1.

    Cost: one singular value decomposition of X.

    Source: Personnaz, Guyon & Dreyfus (1985).
    """
    patterns = _floating(patterns)
    # The right singular vectors span the patterns; those of vanishing size belong to dependent patterns.
    _, sizes, directions = jnp.linalg.svd(patterns, full_matrices=False)
    kept = sizes > sizes[0] * max(patterns.shape) * jnp.finfo(patterns.dtype).eps
    return _without_diagonal(directions.T @ jnp.where(kept[:, None], directions, 0))


#: Storage rules by the name used at the command line.
RULES = {"hebbian": hebbian, "storkey": storkey, "pseudo_inverse": pseudo_inverse}


def retrieval_overlap(load: float) -> float:
    r"""Return the overlap $m$ of a Hebbian network with the pattern it settles from, at load $\alpha = P/N$, N large.

    $m = \mathrm{erf}(y)$ with the largest root of $\mathrm{erf}(y) = y(\sqrt{2\alpha} + \frac{2}{\sqrt\pi}e^{-y^2})$;
    0 above the critical load, where 0 is the only root, and 1 at load 0.

    Raises:
        ValueError: if the load is negative.

    Source: Amit, Gutfreund & Sompolinsky (1985), at temperature 0.
    """
    if load < 0:
        raise ValueError(f"load must be 0 or more, got {load}.")
    if load == 0:
        return 1.0
    noise = math.sqrt(2 * load)
    if _noise(_WIDEST) <= noise:
        return 0.0
    # Beyond the widest point the noise that is allowed falls, and it is below 1 / y everywhere.
    return math.erf(optimize.brentq(lambda y: _noise(y) - noise, _WIDEST, 1 / noise + 1))


def critical_load() -> float:
    r"""Return the load $\alpha_c = 0.1379$ above which a Hebbian network of many units retrieves nothing."""
    return _noise(_WIDEST) ** 2 / 2


def error_free_load(units: int) -> float:
    r"""Return $1/\sqrt{2\ln N}$, the load up to which Storkey's rule keeps all patterns without a wrong bit.

    Source: Storkey & Valabregue (1999): absolute capacity $N/\sqrt{2\ln N}$, for N large.
    """
    return 1 / math.sqrt(2 * math.log(units))


def _noise(y: float) -> float:
    r"""Return $\sqrt{2\alpha}$ at which y solves the equation of `retrieval_overlap`."""
    return math.erf(y) / y - 2 / math.sqrt(math.pi) * math.exp(-(y**2))


#: The y with the largest load.
_WIDEST = float(optimize.minimize_scalar(lambda y: -_noise(y), bounds=(0.5, 4.0), options={"xatol": 1e-12}).x)


def _floating(patterns: Real[Array, "p n"]) -> Float[Array, "p n"]:
    """Return the patterns in floating point: integers, as `jax.random.rademacher` draws them, in that of new arrays."""
    return patterns.astype(jnp.result_type(patterns, float))


def _without_diagonal(weight: Array) -> Array:
    return weight - jnp.diag(jnp.diag(weight))
