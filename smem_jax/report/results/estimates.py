"""Figures of a setting over its seeds, with 95 % intervals by the bootstrap over items.

Every seed is asked the same items. So an item's figures are averaged over seeds, and the items
drawn with replacement: seeds add no items, and the interval is no narrower for more seeds of equal
results. Where lines have no items, the ends of their own intervals are averaged, which is seldom
narrower. How far seeds differ is told apart, as `spread`.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from smem_jax.evaluate import bootstrap
from smem_jax.report.results.read import Setting
from smem_jax.train import result_lines

Statistic = Literal["change", "drop"]
_STATISTICS = {"change": bootstrap.change, "drop": bootstrap.relative_drop}


class Estimate(NamedTuple):
    """A mean over seeds, its interval (NaN where unknown), and the standard deviation over seeds,
    None for one seed.
    """

    mean: float
    low: float
    high: float
    spread: float | None


def held_out(setting: Setting, figure: str, statistic: Statistic) -> Estimate | None:
    """What teaching did to a figure: its `change`, or its `drop` as a share of what it was.

    None where a run of the setting lacks the figure.
    """
    found = without_interval(setting, figure, statistic)
    if found is None:
        return None
    if items := items_of(setting, figure):
        low, high = bootstrap.paired(*items, _STATISTICS[statistic])
    else:
        ends = [_ends(entry, statistic) for entry in _figures(setting, figure)]
        low, high = map(statistics.fmean, zip(*ends, strict=True))
    return found._replace(low=low, high=high)


def without_interval(setting: Setting, figure: str, statistic: Statistic) -> Estimate | None:
    """As `held_out`, at a thousandth of the cost."""
    means = [_statistic(entry, "after", statistic) for entry in _figures(setting, figure)]
    if not means or not all(map(math.isfinite, means)):
        return None
    return Estimate(statistics.fmean(means), math.nan, math.nan, _spread(means))


def before_and_after(setting: Setting, figure: str) -> tuple[float, float] | None:
    """The figure of the base and of the taught model, None where a run lacks it."""
    runs = _figures(setting, figure)
    if not runs:
        return None
    before, after = ([run[when] for run in runs] for when in ("before", "after"))
    return statistics.fmean(before), statistics.fmean(after)


def recall(setting: Setting, name: str = "reworded") -> Estimate | None:
    """A figure of `recall`, None where a run lacks it."""
    found = [_number(run["recall"], name) for run in setting.runs]
    if not all(map(math.isfinite, found)):
        return None
    low, high = (
        statistics.fmean(_number(run["recall"], f"{name}_{end}") for run in setting.runs)
        for end in ("low", "high")
    )
    return Estimate(statistics.fmean(found), low, high, _spread(found))


def times(one: Setting, other: Setting, figure: str, statistic: Statistic) -> Estimate | None:
    """How many times what `other` loses `one` loses.

    Its interval is of pairs of items; samples in which `other` loses nothing are left out. None
    where a figure is missing, `other` loses nothing, or `one` gains.
    """
    losses = [without_interval(setting, figure, statistic) for setting in (one, other)]
    if losses[0] is None or losses[1] is None or losses[1].mean <= 0 or losses[0].mean < 0:
        return None
    low = high = math.nan
    if lost := _losses(one, other, figure, statistic):

        def ratio(of_other: np.ndarray, of_one: np.ndarray) -> np.ndarray:
            return np.where(of_other > 0, of_one / of_other, np.nan)

        low, high = bootstrap.paired(lost[1], lost[0], ratio)
    return Estimate(losses[0].mean / losses[1].mean, low, high, None)


def more(one: Setting, other: Setting, figure: str, statistic: Statistic) -> Estimate | None:
    """How much more `one` loses than `other`, with its interval where both have the items."""
    losses = [without_interval(setting, figure, statistic) for setting in (one, other)]
    if losses[0] is None or losses[1] is None:
        return None
    low = high = math.nan
    if lost := _losses(one, other, figure, statistic):
        low, high = bootstrap.interval(lost[0] - lost[1])
    return Estimate(losses[0].mean - losses[1].mean, low, high, None)


def more_recalled(one: Setting, other: Setting, kind: str) -> Estimate | None:
    """How much more `one` recalls at the end than `other`: `kind` is 'reworded' or 'trained'.

    Lessons are drawn in pairs, those of the same seed; no interval where the seeds differ or a line
    lacks what was recalled lesson by lesson.
    """
    found = [recall(setting, kind) for setting in (one, other)]
    if found[0] is None or found[1] is None:
        return None
    low = high = math.nan
    by_seed = [
        {run.get("seed", 0): _recalled(run, kind) for run in setting.runs}
        for setting in (one, other)
    ]
    shapes = [{seed: shares.shape for seed, shares in shares_of.items()} for shares_of in by_seed]
    if shapes[0] == shapes[1] and all(size for (size,) in shapes[0].values()):
        differences = [by_seed[0][seed] - by_seed[1][seed] for seed in by_seed[0]]
        low, high = bootstrap.interval(np.concatenate(differences))
    return Estimate(found[0].mean - found[1].mean, low, high, None)


def _recalled(run: Mapping[str, Any], kind: str) -> np.ndarray:
    """What is recalled of each lesson at the end, float64; no lessons where the line lacks it."""
    return result_lines.unpack(run.get("items", {}).get(f"recall_{kind}", {"after": ""})["after"])


def items_of(setting: Setting, figure: str) -> tuple[np.ndarray, np.ndarray] | None:
    """`before` and `after` of each item, mean over seeds, float64 [num_items] each.

    None where a run lacks them, or was asked other items.
    """
    found = [run.get("items", {}).get(figure) for run in setting.runs]
    if any(item is None for item in found):
        return None
    arrays = [[result_lines.unpack(item[when]) for item in found] for when in ("before", "after")]
    if len({array.shape for when in arrays for array in when}) != 1:
        return None
    before, after = (np.mean(when, axis=0) for when in arrays)
    return before, after


def _losses(
    one: Setting, other: Setting, figure: str, statistic: Statistic
) -> tuple[np.ndarray, np.ndarray] | None:
    """What either loses of each item, in the unit of the statistic; None without equal items."""
    first, second = items_of(one, figure), items_of(other, figure)
    if first is None or second is None or first[0].shape != second[0].shape:
        return None
    unit = -float(second[0].mean()) if statistic == "drop" else 1.0
    return (first[1] - first[0]) / unit, (second[1] - second[0]) / unit


def _figures(setting: Setting, figure: str) -> list[dict[str, float]]:
    """The entry of each run, none where one lacks it."""
    found = [run["figures"].get(figure) for run in setting.runs]
    return [] if any(entry is None for entry in found) else found


def _ends(figure: dict[str, float], statistic: Statistic) -> tuple[float, float]:
    """The interval of the statistic for one run, from the line's own where it has one."""
    ends = [_statistic(figure, end, statistic) for end in ("low", "high")]
    low = figure.get(f"{statistic}_low", min(ends))
    return low, figure.get(f"{statistic}_high", max(ends))


def _statistic(figure: dict[str, float], end: str, statistic: Statistic) -> float:
    before, after = np.array([_number(figure, "before")]), np.array([_number(figure, end)])
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(_STATISTICS[statistic](before, after)[0])


def _number(record: dict[str, Any], name: str) -> float:
    value = record.get(name)
    return math.nan if value is None else float(value)


def _spread(values: Sequence[float]) -> float | None:
    return statistics.stdev(values) if len(values) > 1 else None
