"""How well a score tells foreign samples from known ones: AUROC, AUPR, FPR95, and bootstrap intervals.

A score is higher for what looks foreign. The measures work on the last axis, so that a bootstrap evaluates all its
resamples at once; on one sample they are scikit-learn's.
"""

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from jaxtyping import Float

Known: TypeAlias = Float[np.ndarray, "*resamples m"]
Foreign: TypeAlias = Float[np.ndarray, "*resamples n"]
Values: TypeAlias = Float[np.ndarray | np.float64, "*resamples"]


def auroc(known: Known, foreign: Foreign) -> Values:
    """Return the probability that a foreign sample scores higher than a known one; a tie counts half."""
    from scipy.stats import rankdata

    m, n = known.shape[-1], foreign.shape[-1]
    ranks = rankdata(np.concatenate([known, foreign], axis=-1), axis=-1)
    return (ranks[..., m:].sum(axis=-1) - n * (n + 1) / 2) / (m * n)


def aupr(known: Known, foreign: Foreign) -> Values:
    r"""Return the average precision with the foreign samples as the positives: $\sum_k (R_k - R_{k-1}) P_k$.

    Chance is the share of foreign samples.
    """
    scores = np.concatenate([known, foreign], axis=-1)
    order = np.argsort(-scores, axis=-1, kind="stable")
    ordered = np.take_along_axis(scores, order, axis=-1)
    positive = order >= known.shape[-1]
    places = np.arange(1, scores.shape[-1] + 1)
    precision = np.cumsum(positive, axis=-1) / places
    # Equal scores pass one threshold together: each takes the precision at the last of its group.
    ends = np.ones(scores.shape, bool)
    ends[..., :-1] = ordered[..., 1:] != ordered[..., :-1]
    last = np.where(ends, places - 1, places[-1])
    last = np.minimum.accumulate(last[..., ::-1], axis=-1)[..., ::-1]
    return np.sum(positive * np.take_along_axis(precision, last, axis=-1), axis=-1) / foreign.shape[-1]


def fpr95(known: Known, foreign: Foreign) -> Values:
    """Return the share of foreign samples that pass a threshold which at least 95 % of the known ones pass."""
    threshold = np.quantile(known, 0.95, axis=-1, method="higher", keepdims=True)
    return np.mean(foreign <= threshold, axis=-1)


def lowest_quartile(known: Known, foreign: Foreign) -> float:
    """Return the AUROC among the quarter of all samples that score highest, whose probability is lowest.

    It is nan where that quarter holds samples of one kind only, which leaves nothing to tell apart.
    """
    bound = np.quantile(np.concatenate([known, foreign]), 0.75)
    high = known[known >= bound], foreign[foreign >= bound]
    return float(auroc(*high)) if min(map(len, high)) else math.nan


#: name -> measure, in the order of tables.
MEASURES: dict[str, Callable[[Known, Foreign], Values]] = {"auroc": auroc, "aupr": aupr, "fpr95": fpr95}


def interval(
    measure: Callable[[Known, Foreign], Values], known: Known, foreign: Foreign, *, resamples: int, seed: int
) -> tuple[float, float]:
    """Return the 95 % percentile interval of a measure over resampled test samples, known and foreign apart."""
    from scipy.stats import bootstrap

    drawn = bootstrap(
        (known, foreign),
        lambda a, b, axis: measure(np.moveaxis(a, axis, -1), np.moveaxis(b, axis, -1)),
        n_resamples=resamples,
        vectorized=True,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return float(drawn.confidence_interval.low), float(drawn.confidence_interval.high)


def difference(
    known: tuple[Known, Known], foreign: tuple[Foreign, Foreign], *, resamples: int, seed: int
) -> tuple[float, float, float]:
    """Return how much higher the AUROC of the first score is than that of the second, with its 95 % interval.

    The same samples are drawn for both, so that what is hard for both does not widen the interval.
    """
    from scipy.stats import bootstrap

    def statistic(i: np.ndarray, j: np.ndarray, axis: int) -> Values:
        i, j = np.moveaxis(i, axis, -1).astype(int), np.moveaxis(j, axis, -1).astype(int)
        return auroc(known[0][i], foreign[0][j]) - auroc(known[1][i], foreign[1][j])

    places = np.arange(len(known[0])), np.arange(len(foreign[0]))
    rng = np.random.default_rng(seed)
    drawn = bootstrap(
        places, statistic, n_resamples=resamples, vectorized=True, method="percentile", rng=rng
    ).confidence_interval
    return float(statistic(*places, axis=-1)), float(drawn.low), float(drawn.high)
