"""How like the data samples are: earth mover's, Fréchet and inception measures, with bootstrap errors."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

#: Resamples behind every bootstrap error: their spread is then known to about 5 %.
RESAMPLES = 200


def earth_mover(one: Float[np.ndarray, "n d"], other: Float[np.ndarray, "n d"]) -> float:
    r"""Return $W_1 = \min_\pi \frac1n \sum_i \lVert a_i - b_{\pi(i)} \rVert$ between two samples of one size.

    Between samples of one size the best plan moves each point whole, so that it is an assignment problem.
    """
    from scipy.optimize import linear_sum_assignment  # SciPy takes a moment to import
    from scipy.spatial.distance import cdist

    distances = cdist(one, other)
    return float(distances[linear_sum_assignment(distances)].mean())


def moments(features: Float[np.ndarray, "n d"]) -> tuple[Float[np.ndarray, "d"], Float[np.ndarray, "d d"]]:
    """Return mean and covariance of features."""
    return features.mean(axis=0), np.cov(features, rowvar=False)


def frechet(
    one: tuple[Float[np.ndarray, "d"], Float[np.ndarray, "d d"]],
    other: tuple[Float[np.ndarray, "d"], Float[np.ndarray, "d d"]],
) -> float:
    r"""Return $\lVert m - m' \rVert^2 + \mathrm{tr}\big(C + C' - 2 (C^{1/2} C' C^{1/2})^{1/2}\big)$ of two Gaussians.

    Source: Dowson & Landau (1982); as a measure of generated images Heusel et al. (2017).
    """
    (m, C), (n, D) = one, other
    values, vectors = np.linalg.eigh(C)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    shared = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ D @ root), 0)).sum()
    return float(np.sum((m - n) ** 2) + np.trace(C) + np.trace(D) - 2 * shared)


def inception_score(probabilities: Float[np.ndarray, "n classes"]) -> float:
    r"""Return $\exp \mathrm{E}_x\, \mathrm{KL}(p(c|x) \Vert \mathrm{E}_x p(c|x))$, from 1 to the number of classes.

    Source: Salimans et al. (2016).
    """
    p = np.maximum(probabilities, 1e-12)
    return float(np.exp(np.mean(np.sum(p * (np.log(p) - np.log(p.mean(axis=0))), axis=1))))


def bootstrap_error(
    measure: Callable[[np.ndarray], float], samples: Float[np.ndarray, "n d"], *, seed: int, resamples: int = RESAMPLES
) -> float:
    """Return the standard error of a measure: its standard deviation over resamples with replacement.

    The spread is taken and not the quantiles: a resample repeats samples, so that its covariance is that of fewer of
    them, which moves a Fréchet distance up.
    """
    random = np.random.default_rng(seed)
    n = len(samples)
    return float(np.std([measure(samples[random.integers(0, n, n)]) for _ in range(resamples)], ddof=1))


def half_interval(measure: Callable[[np.ndarray], float], samples: Float[np.ndarray, "n d"], *, seed: int) -> float:
    """Return half the width of the 95 % interval of a measure: 1.96 bootstrap errors."""
    return 1.96 * bootstrap_error(measure, samples, seed=seed)
