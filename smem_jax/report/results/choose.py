"""Which runs are compared: the rule of equal learning, and Pareto fronts."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from smem_jax.report.results import estimates, methods
from smem_jax.report.results.read import Setting

MARGIN = 0.02  # of recall, within which two settings count as having learned the same


class Pick(NamedTuple):
    """The setting that stands for a method; `reached` says whether it learned as much as asked."""

    setting: Setting
    reached: bool


def learned(setting: Setting) -> float:
    """The share of reworded questions answered right after the stream."""
    found = estimates.recall(setting)
    return found.mean if found else 0.0


def forgotten(setting: Setting) -> tuple[float, float]:
    """What is compared of two settings: the share of the known set lost, then WikiText's rise.

    One that was not measured is as bad as can be.
    """
    lost = estimates.without_interval(setting, "known", "drop")
    rise = estimates.without_interval(setting, "wikitext_nll", "change")
    return (lost.mean if lost else math.inf, rise.mean if rise else math.inf)


def best_baseline(settings: Sequence[Setting]) -> float | None:
    """The most that any setting of a baseline learned, None where no baseline was run."""
    recalls = [learned(setting) for setting in settings if methods.is_baseline(setting.method)]
    return max(recalls, default=None)


def pick(settings: Sequence[Setting], recall: float) -> Pick:
    """The setting of a method that is compared 'at equal learning'.

    Of those whose recall is at least `recall` less `MARGIN`, the one that forgets least; where
    there is none, the one that learned most, with `reached` False.
    """
    equal = [setting for setting in settings if learned(setting) >= recall - MARGIN - 1e-9]
    if equal:
        return Pick(min(equal, key=forgotten), True)
    return Pick(max(settings, key=learned), False)


def wanted(settings: Sequence[Setting]) -> float:
    """The recall that counts as equal learning: that of the best baseline, or else of the best."""
    best = best_baseline(settings)
    return max(map(learned, settings)) if best is None else best


def headline(settings: Sequence[Setting]) -> list[Pick]:
    """One setting for each method, at equal learning where it has one."""
    recall = wanted(settings)
    by_method: dict[str, list[Setting]] = {}
    for setting in settings:
        by_method.setdefault(setting.method, []).append(setting)
    return [pick(group, recall) for group in by_method.values()]


def main_sparse(picks: Sequence[Pick]) -> Setting | None:
    """The sparse setting that the others are compared with: of those chosen by TF-IDF and that
    learned enough, if any did, the one that forgets least.
    """
    sparse = [p for p in picks if methods.family(p.setting.method) == "sparse"]
    sparse = [p for p in sparse if p.reached] or sparse
    return min((p.setting for p in sparse), key=forgotten, default=None)


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """The Pareto front of (forgotten, learned): those than which no other is better in both.

    Returns their positions by ascending forgetting; of equal points the first.

    >>> front([(0.1, 0.5), (0.2, 0.9), (0.3, 0.8), (0.1, 0.4)])
    [0, 1]
    """
    order = sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1], i))
    found: list[int] = []
    for i in order:
        if not found or points[i][1] > points[found[-1]][1]:
            found.append(i)
    return found
