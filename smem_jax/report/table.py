"""Before and after, in words and numbers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from smem_jax.report.measures import MEASURES, Measure
from smem_jax.report.read import read_answers

_EXAMPLES = 3
_EXAMPLE_WIDTH = 60


class Row(NamedTuple):
    """A measurement as it is shown; `better` is None where nothing changed."""

    label: str
    before: str
    after: str
    change: str
    better: bool | None


def rows(summary: Mapping[str, Any]) -> list[Row]:
    """The measurements that the summary has, in the order in which they matter."""
    return [_row(measure, **summary[measure.key]) for measure in MEASURES if measure.key in summary]


def table(summary: Mapping[str, Any]) -> str:
    """Before, after and change as plain text of at most 80 columns, with what it cost."""
    shown = [("", "before", "after", "change"), *(row[:4] for row in rows(summary))]
    widths = [max(len(row[column]) for row in shown) for column in range(4)]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *(row[n].rjust(widths[n]) for n in (1, 2, 3))]).rstrip()
        for row in shown
    ]
    return "\n".join([*lines, "", cost(summary)])


def cost(summary: Mapping[str, Any]) -> str:
    """What was taught, what was changed for it, and what that took."""
    return (
        f"{summary['num_facts']} facts, {summary['steps']} steps; "
        f"{summary['slots_updated']:,} of {summary['num_slots']:,} slots changed; "
        f"{summary['seconds']:.0f} s, {summary['peak_rss_bytes'] / 1e9:.1f} GB at most"
    )


def examples(workdir: Path) -> list[str]:
    """A few answers before and after, to questions that were not trained on, for the terminal.

    Raises InputError where `answers.jsonl` is missing or damaged.
    """
    lines: list[str] = []
    shown: set[str] = set()
    for answer in read_answers(workdir):
        if len(shown) == _EXAMPLES:
            break
        if answer["kind"] != "reworded" or answer["fact"] in shown:
            continue
        shown.add(answer["fact"])
        mark = "right" if answer["correct_after"] else f"wrong: {answer['accepted'][0]}"
        lines += [
            _one_line(answer["prompt"], 80),
            f"  before  {_one_line(answer['before'], _EXAMPLE_WIDTH)}",
            f"  after   {_one_line(answer['after'], _EXAMPLE_WIDTH)}  ({mark})",
        ]
    return lines


def _one_line(text: str, width: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 3] + "..."


def _row(measure: Measure, before: float, after: float) -> Row:
    change = after - before
    better = None if change == 0 else (change > 0) == measure.more_is_better
    if measure.unit == "share":
        shown = f"{before:.0%}", f"{after:.0%}", f"{100 * change:+.0f} points"
    else:
        unit = " nats" if measure.unit == "nats" else ""
        shown = f"{before:.4f}", f"{after:.4f}", f"{change:+.4f}{unit}"
    return Row(measure.label, *shown, better)
