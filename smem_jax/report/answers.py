"""Every answer of a run, fact by fact: all that was asked is shown on demand."""

from collections.abc import Mapping, Sequence
from html import escape
from itertools import groupby
from typing import Any

from smem_jax.data.wordings import TRAINING_FRAMES
from smem_jax.report.html import cell, colour, quiet, table

KINDS = {
    "reworded": "in other words",
    "frame": "in another frame",
    "trained": "as trained on",
}


_MOST_FACTS = 300  # of some 4 kB each


def facts(answers: Sequence[Mapping[str, Any]]) -> list[str]:
    """The lines of `answers.jsonl` as one `<details>` for each fact, of the first 300."""
    groups = [list(group) for _, group in groupby(answers, lambda answer: answer["fact"])]
    left = len(groups) - _MOST_FACTS
    rest = [quiet(f"answers.jsonl has those to {left} more facts.")] if left > 0 else []
    return [*map(_fact, groups[:_MOST_FACTS]), *rest]


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
                cell(answer["before"] or "(nothing)", colour(answer["correct_before"]), "before"),
                cell(answer["after"] or "(nothing)", colour(answer["correct_after"]), "after"),
            )
            for answer in ordered
        ),
        kind="answers",
    )
    also = ", ".join(first["accepted"][1:])
    tally = f"{right} of {len(answers)} right, {was_right} before"
    return (
        f'<details class="fact"><summary><span>{escape(_question(first["prompt"]))} '
        f"<b>{escape(first['accepted'][0])}</b></span>"
        f'<span class="tally {"good" if right == len(answers) else "quiet"}">{tally}</span>'
        f"</summary>{shown}{quiet(f'Also accepted: {also}') if also else ''}</details>"
    )


def _question(prompt: str) -> str:
    """A prompt without the frame that questions are asked in."""
    before, _, after = TRAINING_FRAMES[0].partition("{question}")
    return " ".join(prompt.removeprefix(before).removesuffix(after).split())
