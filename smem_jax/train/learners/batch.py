"""Passages as the arrays of a training step."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from smem_jax.data.encode import ANSWER_END, answer_ids
from smem_jax.data.lessons import Lesson, Passage
from smem_jax.errors import InputError
from smem_jax.models.pretrained import Tokenizer
from smem_jax.train.background import Documents


class Batch(NamedTuple):
    """Sequences and what they should predict; arrays of numpy, or of JAX inside of a step.

    `is_lesson` is False for padding and for replayed text, whose reads do not count in selection.
    A scored position that is padding has weight 0.
    """

    tokens: Any  # int32 [rows, seq]
    is_lesson: Any  # bool [rows, seq]
    positions: Any  # int32 [rows, scored]: whose predictions bear the loss
    targets: Any  # int32 [rows, scored]
    weights: Any  # float32 [rows, scored]: of a target in the loss


def token_ids(tokenizer: Tokenizer, passage: Passage) -> tuple[list[int], int]:
    """The tokens of a passage, and how many of them stand before the first that is learned."""
    if not passage.prompt:
        return tokenizer.encode(passage.target), 1
    prompt = tokenizer.encode(passage.prompt)
    return prompt + answer_ids(tokenizer, passage.target, ANSWER_END), len(prompt)


def encode(
    encoded: Sequence[tuple[list[int], int]], seq_len: int, scored: int, pad_id: int
) -> Batch:
    """A batch of what `token_ids` gives; each row must fit `seq_len`, its targets `scored`."""
    num_rows = len(encoded)
    tokens = np.full((num_rows, seq_len), pad_id, np.int32)
    positions = np.zeros((num_rows, scored), np.int32)
    targets = np.zeros((num_rows, scored), np.int32)
    weights = np.zeros((num_rows, scored), np.float32)
    for row, (ids, first) in enumerate(encoded):
        count = len(ids) - first
        tokens[row, : len(ids)] = ids
        positions[row, :count] = np.arange(first - 1, len(ids) - 1)
        targets[row, :count] = ids[first:]
        weights[row, :count] = 1
    lengths = np.asarray([len(ids) for ids, _ in encoded])
    return Batch(tokens, np.arange(seq_len) < lengths[:, None], positions, targets, weights)


def with_replay(batch: Batch, documents: Documents, weight: float, pad_id: int) -> Batch:
    """The batch with ordinary documents behind it, cut off where it ends.

    All tokens of a document but the first bear loss; together they weigh `weight` times what the
    lesson does. The batch must have room to score every position but the last.
    """
    seq, scored = batch.tokens.shape[1], batch.positions.shape[1]
    if scored != seq - 1:
        raise ValueError(f"{scored} scored positions; {seq - 1} have room for a replayed document")
    lengths = np.minimum(documents.lengths, seq)
    tokens = np.full((len(lengths), seq), pad_id, np.int32)
    width = min(seq, documents.tokens.shape[1])
    tokens[:, :width] = documents.tokens[:, :width]
    positions = np.tile(np.arange(scored, dtype=np.int32), (len(lengths), 1))
    is_target = positions < lengths[:, None] - 1
    each = weight * float(batch.weights.sum()) / max(is_target.sum(), 1)
    return Batch(
        np.concatenate([batch.tokens, tokens]),
        np.concatenate([batch.is_lesson, np.zeros_like(tokens, bool)]),
        np.concatenate([batch.positions, positions]),
        np.concatenate([batch.targets, tokens[:, 1:]]),
        np.concatenate([batch.weights, (each * is_target).astype(np.float32)]),
    )


class Encoder:
    """Lessons as batches of few shapes, so that few programs are compiled.

    Args:
      lengths: padded lengths, ascending; the first that holds the longest passage is taken.
      all_scored: leave room to score every position of a row, as replayed text needs it.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        lessons: Sequence[Lesson],
        lengths: Sequence[int],
        all_scored: bool,
    ):
        self._lengths = sorted(lengths)
        self._pad_id = tokenizer.pad_id
        self._encoded = [[token_ids(tokenizer, p) for p in lesson.passages] for lesson in lessons]
        self._all_scored = all_scored
        most = max((len(ids) - first for rows in self._encoded for ids, first in rows), default=1)
        self._scored = -(-most // 4) * 4

    def too_long(self) -> list[int]:
        """Numbers of the lessons with a passage that no length holds."""
        longest = self._lengths[-1]
        return [
            number
            for number, rows in enumerate(self._encoded)
            if max(len(ids) for ids, _ in rows) > longest
        ]

    def batches(self, lesson: int, count: int) -> list[Batch]:
        """The passages of a lesson in `count` batches, one for each of its steps.

        All have one length, but for those that fit in half of it: these are worth a program of
        their own.
        """
        rows = self._encoded[lesson]
        longest = self._length(rows)
        batches = []
        for part in (rows[start::count] for start in range(count)):
            length = self._length(part)
            length = length if 2 * length <= longest else longest
            scored = length - 1 if self._all_scored else min(self._scored, length - 1)
            batches.append(encode(part, length, scored, self._pad_id))
        return batches

    def _length(self, rows: Sequence[tuple[list[int], int]]) -> int:
        """The first length that holds the longest of encoded passages."""
        need = max(len(ids) for ids, _ in rows)
        if need > self._lengths[-1]:
            raise InputError(
                f"a passage has {need} tokens, and lessons.lengths hold {self._lengths[-1]} at most"
            )
        return next(length for length in self._lengths if length >= need)
