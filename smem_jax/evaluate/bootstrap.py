"""Intervals of means by the bootstrap over items.

The percentile method (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13):
items are drawn with replacement, and the interval runs between two percentiles of the statistics of
these samples. An array of equal values has an interval without width.
"""

from collections.abc import Callable

import numpy as np

Statistic = Callable[[np.ndarray, np.ndarray], np.ndarray]


def interval(
    values: np.ndarray, level: float = 0.95, samples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """The interval of the mean of `values` [num_items] that holds `level` of the samples.

    Raises ValueError for no items, for one that is not finite, and for a level outside 0 to 1.

    >>> low, high = interval(np.asarray([0.0, 1.0, 1.0, 1.0]), samples=500)
    >>> 0 <= low < 0.75 < high <= 1
    True
    """
    means = _sampled_means(np.asarray(values)[None], samples, seed)
    return _percentiles(means[0], level)


def paired(
    before: np.ndarray,
    after: np.ndarray,
    statistic: Statistic,
    level: float = 0.95,
    samples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """The interval of a statistic of two means over the same items, `before` and `after`.

    Args:
      before, after: [num_items] each; an item is drawn with both of its values.
      statistic: of the means of all samples, [samples] each, such as `change` or `relative_drop`.
        A sample where it is not finite is left out.

    Raises ValueError for arrays of different length, and where `interval` does.
    """
    before, after = np.asarray(before), np.asarray(after)
    if before.shape != after.shape:
        raise ValueError(f"{len(before)} items before and {len(after)} after must be the same")
    with np.errstate(divide="ignore", invalid="ignore"):
        found = statistic(*_sampled_means(np.stack([before, after]), samples, seed))
    return _percentiles(found[np.isfinite(found)], level)


def change(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """How much the mean rose."""
    return after - before


def relative_drop(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """How much the mean fell, as a share of what it was: 0.11 where 11 % was lost."""
    return (before - after) / before


def _sampled_means(values: np.ndarray, samples: int, seed: int) -> np.ndarray:
    """Means of `values` [arrays, num_items], drawn together: float64 [arrays, samples]."""
    if values.ndim != 2 or not values.shape[1] or not np.isfinite(values).all():
        raise ValueError(f"values of shape {values.shape[1:]} must be items, all of them finite")
    num_items = values.shape[1]
    drawn = np.random.default_rng(seed).integers(num_items, size=(samples, num_items))
    return values.astype(np.float64)[:, drawn].mean(axis=-1)


def _percentiles(found: np.ndarray, level: float) -> tuple[float, float]:
    if not 0 < level < 1:
        raise ValueError(f"level={level} must be between 0 and 1")
    if not found.size:
        return float("nan"), float("nan")
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
