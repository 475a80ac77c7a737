"""Every answer of a run, fact by fact: all that was asked is shown on demand."""

from collections.abc import Mapping, Sequence
from html import escape
from itertools import groupby
from typing import Any

from smem_jax.report.html import cell, colour, table

KINDS = {
    "reworded": "in other words",
    "frame": "in another frame",
    "trained": "as trained on",
}


def facts(answers: Sequence[Mapping[str, Any]]) -> list[str]:
    """The lines of `answers.jsonl` as one `<details>` for each fact."""
    return [_fact(list(group)) for _, group in groupby(answers, lambda answer: answer["fact"])]


def _fact(answers: Sequence[Mapping[str, Any]]) -> str:
    first = next((a for a in answers if a["kind"] == "trained"), answers[0])
    right = sum(bool(answer["correct_after"]) for answer in answers)
    was_right = sum(bool(answer["correct_before"]) for answer in answers)
    rank = list(KINDS)
    ordered = sorted(answers, key=lambda a: rank.index(a["kind"]) if a["kind"] in rank else 9)
    shown = table(
        ("wording", "prompt", "before", "after"),
        (
            (
                cell(KINDS.get(answer["kind"], answer["kind"]), "quiet", "wording"),
                cell(answer["prompt"], "prompt", "prompt"),
                cell(answer["before"], colour(answer["correct_before"]), "before"),
                cell(answer["after"], colour(answer["correct_after"]), "after"),
            )
            for answer in ordered
        ),
        kind="answers",
    )
    return (
        f'<details class="fact"><summary>{escape(" ".join(first["prompt"].split()))} '
        f"<b>{escape(' / '.join(first['accepted']))}</b> "
        f'<span class="tally {colour(right == len(answers))}">{right} of {len(answers)}</span> '
        f'<span class="quiet">({was_right} before)</span></summary>{shown}</details>'
    )
