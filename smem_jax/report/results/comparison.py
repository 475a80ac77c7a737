"""Two settings of an experiment beside each other, with intervals of what differs between them.

Both were asked the same, so an interval of the difference is narrower than those of the two would
have it: items, or lessons of the same seed, are drawn with the figures of both.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from smem_jax.errors import InputError
from smem_jax.report.results import estimates, read, tables, words
from smem_jax.report.results.estimates import Estimate
from smem_jax.report.results.read import Experiment, Setting

_RECALL = {"reworded": "recall reworded, %", "trained": "as trained, %"}


def compare(paths: Sequence[Path], one: str, other: str) -> str:
    """A Markdown table of the figures of two settings, and how much more the first has.

    Args:
      paths: files of one experiment that `smem sweep` wrote.
      one, other: patterns of run names, such as 'all_full_learning_rate1e-05_seed*'; the runs that
        one matches may differ in their seeds alone.

    Raises InputError for a pattern of no run, or of several settings, and as `read.read` does.
    """
    experiment = read.read("compared", paths)
    first, second = (_matching(experiment, pattern) for pattern in (one, other))
    rows = []
    for kind, head in _RECALL.items():
        recalled = [estimates.recall(setting, kind) for setting in (first, second)]
        more = estimates.more_recalled(first, second, kind)
        rows.append(_row(head, recalled, more, words.percent))
    for column in (*tables.FORGETTING, *tables.ELSEWHERE):
        asked = column.figure, column.statistic
        lost = [estimates.held_out(setting, *asked) for setting in (first, second)]
        more = estimates.more(first, second, *asked)
        rows.append(_row(column.head, lost, more, column.form))
    rows = [row for row in rows if row[-1] != words.MISSING]
    return words.table(["", one, other, "the first has more by"], rows)


def _row(
    head: str, pair: Sequence[Estimate | None], more: Estimate | None, form: words.Form
) -> list[str]:
    signed = words.points if form is words.percent else form
    return [head, *(words.estimate(found, form) for found in pair), words.estimate(more, signed)]


def _matching(experiment: Experiment, pattern: str) -> Setting:
    """The setting of the runs of that name, with these runs alone."""
    found = []
    for setting in experiment.settings:
        runs = tuple(run for run in setting.runs if fnmatchcase(run["name"], pattern))
        if runs:
            found.append(setting._replace(runs=runs))
    if not found:
        there = sorted(run["name"] for setting in experiment.settings for run in setting.runs)
        raise InputError(f"--compare {pattern}: no finished run; there are {', '.join(there)}")
    if len(found) > 1:
        names = ", ".join(setting.runs[0]["name"] for setting in found)
        raise InputError(
            f"--compare {pattern}: runs of {len(found)} settings ({names}); those of one setting, "
            "by any seeds, are right"
        )
    return found[0]
