"""Means, spreads and paired differences over seeds."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats


@dataclasses.dataclass(frozen=True)
class Interval:
    """A mean over seeds.

    Attributes:
        mean: arithmetic mean.
        sd: sample standard deviation (n - 1); nan for one value.
        low, high: 95 % interval of the mean by Student's t; nan for one value.
        n: number of values.
    """

    mean: float
    sd: float
    low: float
    high: float
    n: int


@dataclasses.dataclass(frozen=True)
class Paired:
    """A difference between two labels over the seeds that both have.

    Attributes:
        interval: of the differences.
        p: two-sided p-value of the paired t-test; nan where there are fewer than two seeds or no variation.
    """

    interval: Interval
    p: float


def mean_interval(values: Sequence[float]) -> Interval:
    """Return mean, standard deviation and 95 % interval of the mean.

    Raises:
        ValueError: if there is no value.
    """
    if len(values) == 0:
        raise ValueError("mean_interval needs at least one value, got none.")
    array = np.asarray(values, float)
    mean, n = float(array.mean()), len(array)
    if n == 1:
        return Interval(mean, math.nan, math.nan, math.nan, 1)
    sd = float(array.std(ddof=1))
    half = float(stats.t.ppf(0.975, n - 1)) * sd / math.sqrt(n)
    return Interval(mean, sd, mean - half, mean + half, n)


def paired(first: Mapping[int, float], second: Mapping[int, float]) -> Paired | None:
    """Return first minus second over their common seeds, or None where they share none."""
    common = sorted(first.keys() & second.keys())
    if not common:
        return None
    differences = [first[seed] - second[seed] for seed in common]
    interval = mean_interval(differences)
    size = max(abs(values[seed]) for values in (first, second) for seed in common)
    varies = interval.n > 1 and interval.sd > 1e-12 * size  # more than what rounding leaves
    return Paired(interval, float(stats.ttest_1samp(differences, 0.0).pvalue) if varies else math.nan)
