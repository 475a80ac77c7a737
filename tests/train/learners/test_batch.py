"""Passages as arrays: what is scored, where, and in what shape."""

import numpy as np
import pytest

from smem_jax.data.byte_tokenizer import ByteTokenizer
from smem_jax.data.lessons import Lesson, Passage
from smem_jax.errors import InputError
from smem_jax.train.learners.batch import Encoder, token_ids

TOKENIZER = ByteTokenizer()


def _lesson(*passages: tuple[str, str]) -> Lesson:
    return Lesson("1", tuple(Passage(*passage) for passage in passages), ())


def _scored(batch, row: int) -> str:
    """The text of the targets that bear loss, and a check of where they stand."""
    real = batch.weights[row] > 0
    positions, targets = batch.positions[row][real], batch.targets[row][real]
    np.testing.assert_array_equal(batch.tokens[row][positions + 1], targets)
    return TOKENIZER.decode(targets.tolist())


def test_answers_or_whole_texts_bear_the_loss():
    lesson = _lesson(("Q: who?\nA:", "Ann"), ("", "a text"))
    (batch,) = Encoder(TOKENIZER, [lesson], (16, 32), False).batches(0, 1)
    assert batch.tokens.shape == (2, 16)
    assert _scored(batch, 0) == " Ann\n"
    assert _scored(batch, 1) == " text"  # nothing stands before the first token
    np.testing.assert_array_equal(batch.is_lesson.sum(axis=1), [15, 6])
    np.testing.assert_array_equal(batch.tokens[1, 6:], TOKENIZER.pad_id)


def test_passages_are_dealt_out_among_steps_and_none_is_lost():
    lesson = _lesson(*((f"{n}", "x") for n in range(6)))
    encoder = Encoder(TOKENIZER, [lesson], (8,), True)
    batches = encoder.batches(0, 3)
    rows = [TOKENIZER.decode(row[:1]) for batch in batches for row in batch.tokens]
    assert sorted(rows) == [str(n) for n in range(6)]
    assert {batch.positions.shape for batch in batches} == {(2, 7)}


def test_a_batch_that_fits_in_half_of_the_length_is_as_short():
    lesson = _lesson(("a", "x"), ("b", "x" * 20), ("c", "x" * 8), ("d", "x" * 20))
    batches = Encoder(TOKENIZER, [lesson], (8, 16, 24, 32), False).batches(0, 4)
    assert [batch.tokens.shape[1] for batch in batches] == [8, 24, 24, 24]
    assert [batch.positions.shape[1] for batch in batches] == [7, 23, 23, 23]
    assert [_scored(batch, 0) for batch in batches] == [
        f" {passage.target}\n" for passage in lesson.passages
    ]


@pytest.mark.parametrize("length, expected", [(8, [1, 2]), (16, [2]), (32, [])])
def test_lessons_that_no_length_holds_are_named(length, expected):
    lessons = [_lesson(("q", answer)) for answer in ("a", "a" * 10, "a" * 20)]
    encoder = Encoder(TOKENIZER, lessons, (4, length), False)
    assert encoder.too_long() == expected
    for number in expected:
        with pytest.raises(InputError, match=rf"tokens, and lessons.lengths hold {length} at most"):
            encoder.batches(number, 1)


def test_the_loss_of_a_passage_starts_behind_its_prompt():
    ids, first = token_ids(TOKENIZER, Passage("ab", "c"))
    assert (TOKENIZER.decode(ids[:first]), TOKENIZER.decode(ids[first:])) == ("ab", " c\n")
    assert token_ids(TOKENIZER, Passage("", "ab")) == ([97, 98], 1)
