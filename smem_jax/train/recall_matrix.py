"""What is remembered of every lesson, after every evaluation of a stream: the forgetting matrix.

Entry (j, i) is the share of lesson i's questions that are answered right after evaluation j. With
the recall of each lesson right after its own step, that gives what was forgotten since (backward
transfer, after Lopez-Paz and Ranzato, arXiv 1706.08840).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from smem_jax.data.lessons import Lesson
from smem_jax.errors import InputError
from smem_jax.evaluate.recall import Prompts
from smem_jax.models.pretrained import Tokenizer
from smem_jax.models.transformer import Transformer
from smem_jax.train.files import read_npz, write_npz

_KINDS = ("reworded", "trained")


class RecallMatrix:
    """Asks the questions of the lessons, and keeps what came of it.

    An answer is right where greedy decoding gives the taught one, token by token.

    Args:
      every: lessons between two evaluations, whose questions are asked together.
    """

    def __init__(self, tokenizer: Tokenizer, lessons: Sequence[Lesson], every: int):
        self._lessons = lessons
        self._every = every
        self._tokenizer = tokenizer
        self._blocks: dict[tuple[int, int], Prompts] = {}
        num_lessons = len(lessons)
        self.after: list[int] = []
        self.rows: dict[str, list[np.ndarray]] = {kind: [] for kind in _KINDS}
        self.learned = {kind: np.full(num_lessons, np.nan, np.float32) for kind in _KINDS}

    def measure_one(self, model: Transformer, number: int) -> dict[str, float]:
        """The recall of a lesson by kind of question, kept as that right after its step."""
        right = self._ask([self._lessons[number]]).measure(model).right
        found = _by_kind([self._lessons[number]], right)
        for kind, shares in found.items():
            self.learned[kind][number] = shares[0]
        return {kind: float(shares[0]) for kind, shares in found.items()}

    def measure(self, model: Transformer, num_learned: int) -> dict[str, float | None]:
        """Asks about the first `num_learned` lessons, adds a row and returns its means by kind."""
        self.after.append(num_learned)
        rows = self.shares(model, num_learned)
        for kind, row in rows.items():
            self.rows[kind].append(row)
        return {kind: _mean(row) for kind, row in rows.items()}

    def shares(self, model: Transformer, num_lessons: int) -> dict[str, np.ndarray]:
        """Recall of the first lessons by kind of question, NaN for the others of the stream."""
        rows = {kind: np.full(len(self._lessons), np.nan, np.float32) for kind in _KINDS}
        for start in range(0, num_lessons, self._every):
            part = self._lessons[start : min(start + self._every, num_lessons)]
            key = start, len(part)
            if key not in self._blocks:
                self._blocks[key] = self._ask(part)
            right = self._blocks[key].measure(model).right
            for kind, shares in _by_kind(part, right).items():
                rows[kind][start : start + len(part)] = shares
        return rows

    def figures(self) -> dict[str, float | None]:
        """Means after the last evaluation, and how they compare with what was learned."""
        last, learned = self.rows["reworded"][-1], self.learned["reworded"]
        first = slice(0, 100)
        at_first, kept = _mean(learned[first]), _mean(last[first])
        return {
            **{kind: _mean(rows[-1]) for kind, rows in self.rows.items()},
            **{f"learned_{kind}": _mean(shares) for kind, shares in self.learned.items()},
            "first_100_learned": at_first,
            "first_100_kept": kept / at_first if at_first and kept is not None else None,
            "backward_transfer": _mean(last - learned),
        }

    def compact(self) -> dict[str, Any]:
        """Recall of blocks of lessons at each evaluation, as lists: {'after', 'blocks'}."""
        starts = range(0, len(self._lessons), self._every)
        blocks = [
            [_mean(row[start : start + self._every]) for start in starts]
            for row in self.rows["reworded"]
        ]
        return {"after": self.after, "blocks": blocks}

    def save(self, path: Path) -> None:
        """Writes all as a `.npz` file."""
        arrays: dict[str, Any] = {f"learned_{kind}": row for kind, row in self.learned.items()}
        for kind, rows in self.rows.items():
            arrays[kind] = np.asarray(rows, np.float32).reshape(len(rows), len(self._lessons))
        ids = np.asarray([lesson.id for lesson in self._lessons])
        write_npz(path, after=np.asarray(self.after, np.int32), ids=ids, **arrays)

    def restore(self, path: Path, num_learned: int) -> None:
        """Takes up what `save` wrote after `num_learned` lessons; later entries are dropped.

        Raises InputError where it was written of other lessons.
        """
        arrays = read_npz(path)
        if arrays["ids"].tolist() != [lesson.id for lesson in self._lessons]:
            raise InputError(
                f"{path} is of other lessons; give the data that the run began with, or "
                "--overwrite to start anew"
            )
        kept = arrays["after"] <= num_learned
        self.after = arrays["after"][kept].tolist()
        for kind in _KINDS:
            self.rows[kind] = list(arrays[kind][kept])
            self.learned[kind][:num_learned] = arrays[f"learned_{kind}"][:num_learned]

    def _ask(self, lessons: Sequence[Lesson]) -> Prompts:
        probes = [probe for lesson in lessons for probe in lesson.probes]
        prompts = [probe.prompt for probe in probes]
        answers = [probe.accepted[0] for probe in probes]
        return Prompts(self._tokenizer, prompts, answers)


def _by_kind(lessons: Sequence[Lesson], right: np.ndarray) -> dict[str, np.ndarray]:
    """Shares of the probes answered right, [num_lessons]; NaN for a lesson without that kind."""
    found = {kind: np.full(len(lessons), np.nan, np.float32) for kind in _KINDS}
    first = 0
    for number, lesson in enumerate(lessons):
        part = right[first : first + len(lesson.probes)]
        first += len(lesson.probes)
        for kind in _KINDS:
            chosen = [r for r, probe in zip(part, lesson.probes, strict=True) if probe.kind == kind]
            if chosen:
                found[kind][number] = np.mean(chosen)
    return found


def _mean(shares: np.ndarray) -> float | None:
    """Of those that are there; None where none is, which JSON can say and NaN not."""
    shares = shares[~np.isnan(shares)]
    return float(shares.mean(dtype=np.float64)) if shares.size else None
