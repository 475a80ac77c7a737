"""A finished run, read back from its work directory."""

import json
import reprlib
import sys
from pathlib import Path
from typing import Any, NamedTuple

from smem_jax.data.jsonl import read_lines, read_objects
from smem_jax.errors import InputError
from smem_jax.report.measures import MEASURES
from smem_jax.report.slot_reads import SlotReads, read_slot_reads

# Those of `MEASURES` are not here: each is there only where its data was given.
_SUMMARY = {
    "num_facts": int,
    "steps": int,
    "seconds": float,
    "seconds_by_part": dict,
    "peak_rss_bytes": int,
    "slots_updated": int,
    "num_slots": int,
    "slot_use": dict,
    "base_model": str,
    "versions": dict,
    "seed": int,
    "config": dict,
}
_DRAWN = ("step", "loss", "drift", "recall", "text_nll")  # of the metrics
_ANSWER = (
    "fact",
    "kind",
    "prompt",
    "accepted",
    "before",
    "after",
    "correct_before",
    "correct_after",
)


class Run(NamedTuple):
    """What a work directory says.

    `summary` is the object of `summary.json`; `metrics` has one object for each line of
    `metrics.jsonl`, `answers` one for each of `answers.jsonl`. `slot_reads` is None where an older
    run left none.
    """

    summary: dict[str, Any]
    metrics: list[dict[str, Any]]
    answers: list[dict[str, Any]]
    slot_reads: SlotReads | None


def read_run(workdir: Path) -> Run:
    """Everything that a report shows; InputError for a file that is missing or damaged."""
    return Run(
        _summary(workdir),
        _metrics(workdir / "metrics.jsonl"),
        read_answers(workdir),
        read_slot_reads(workdir / "slot_reads.json"),
    )


def read_answers(workdir: Path) -> list[dict[str, Any]]:
    """The lines of `answers.jsonl`; InputError where the file is missing or damaged."""
    return [record for _, record in read_objects(workdir / "answers.jsonl", _ANSWER)]


def _summary(workdir: Path) -> dict[str, Any]:
    path = workdir / "summary.json"
    if not path.is_file():
        raise InputError(f"--workdir {workdir} holds no finished run: there is no {path}")
    summary = _object(str(path), "\n".join(line for _, line in read_lines(path)))
    for name, kind in _SUMMARY.items():
        if name not in summary:
            raise InputError(f"{path}: the field {name!r} is missing")
        accepted = (int, float) if kind is float else kind
        if not isinstance(summary[name], accepted):
            raise InputError(f"{path}: {name}={summary[name]!r} must be of type {kind.__name__}")
        if kind in (int, float) and not _is_number(summary[name]):
            raise InputError(f"{path}: {name}={reprlib.repr(summary[name])} is too large")
    if summary["num_slots"] < 1:
        raise InputError(f"{path}: num_slots={summary['num_slots']} must be at least 1")
    for name in ("seconds_by_part", "slot_use"):
        if not all(map(_is_number, summary[name].values())):
            raise InputError(f"{path}: {name}={reprlib.repr(summary[name])} must hold numbers")
    for name in (measure.key for measure in MEASURES if measure.key in summary):
        change = summary[name]
        is_change = isinstance(change, dict) and change.keys() == {"before", "after"}
        if not is_change or not all(map(_is_number, change.values())):
            raise InputError(
                f"{path}: {name}={reprlib.repr(change)} must have numbers 'before' and 'after'"
            )
    return summary


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not abs(value) > sys.float_info.max


def _metrics(path: Path) -> list[dict[str, Any]]:
    """The lines that have a step; which other fields a line has is up to the training loop."""
    records = []
    for number, line in read_lines(path):
        record = _object(f"{path}:{number}", line)
        for name in _DRAWN:
            value = record.get(name, 0)
            if not _is_number(value) or value != value:
                raise InputError(f"{path}:{number}: {name}={reprlib.repr(value)} must be a number")
        records.append(record)
    return [record for record in records if "step" in record]


def _object(where: str, text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not JSON ({error})") from error
    if not isinstance(value, dict):
        raise InputError(f"{where}: expected a JSON object, got {type(value).__name__}")
    return value
