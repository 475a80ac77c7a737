"""Augmentations that need no other model, written by rule."""

import itertools
import random
from collections import Counter
from collections.abc import Callable, Sequence

from smem_jax.data.active_reading.augmenter import Encoder, QuestionAnswer
from smem_jax.data.active_reading.notes import notes_of, subject_of
from smem_jax.data.active_reading.strategies import STRATEGIES, Strategy, Study
from smem_jax.errors import InputError

_TRIES = 12  # for each text asked for; the same one may come out twice, or none where no note fits

Quiz = Callable[[str, str], Sequence[QuestionAnswer]]


def no_quiz(_title: str, _text: str) -> Sequence[QuestionAnswer]:
    """No questions but those that the labels of a chunk give."""
    return ()


class BuiltIn:
    """Studies a chunk in the manner of Active Reading, by rule instead of by a language model.

    Strategies (`smem_jax.data.active_reading.strategies`) take turns: questions and answers, cloze,
    lists, a timeline, a dialogue and so on, each with the notes of the chunk in another order and
    in other sentences. Numbers and names are the chunk's alone, so nothing false can enter.

    Source of the idea: 'Learning Facts at Scale with Active Reading' (arXiv 2508.09494), where a
    language model invents the strategies for each document and applies them.

    Args:
      tokenizer: counts the tokens of a text.
      seq_len: tokens that a text may have.
      quiz: (title, text) of a chunk to questions with short answers, asked by several strategies.
      strategies: that take turns; one that comes twice has two turns a round. Where they give too
        few texts of a chunk, all that there are follow.
    """

    def __init__(
        self,
        tokenizer: Encoder,
        seq_len: int,
        quiz: Quiz = no_quiz,
        strategies: Sequence[Strategy] = STRATEGIES,
    ):
        self._tokenizer = tokenizer
        self._seq_len = seq_len
        self._quiz = quiz
        self._strategies = strategies

    def augment(self, chunk_title: str, chunk_text: str, count: int, seed: int) -> list[str]:
        """`count` distinct texts of at most `seq_len` tokens.

        Raises InputError where the chunk does not give so many.
        """
        notes = notes_of(chunk_text)
        quiz = self._quiz(chunk_title, chunk_text)
        texts: dict[str, None] = {}
        turns: Counter[str] = Counter()
        tries = count * _TRIES
        rounds = (itertools.cycle(self._strategies), itertools.cycle(STRATEGIES))
        in_turn = itertools.chain(*(itertools.islice(one, tries) for one in rounds))
        for attempt, strategy in enumerate(in_turn):
            if len(texts) == count:
                break
            rng = random.Random(f"{seed}/{chunk_title}/{attempt}")
            study = Study(subject_of(chunk_title), notes, quiz, rng, turns[strategy.name])
            turns[strategy.name] += 1
            text = self._write(strategy, study, chunk_title)
            if text:
                texts[text] = None
        if len(texts) < count:
            raise InputError(
                f"{chunk_title}: {len(texts)} distinct augmentations of at most {self._seq_len} "
                f"tokens can be made of {chunk_text[:60]!r}, and {count} are asked for"
            )
        return list(texts)

    def _write(self, strategy: Strategy, study: Study, title: str) -> str:
        """A heading and as many items as fit, or '' where none does."""
        if not strategy.headings:
            item = "".join(strategy.items(study)[:1])
            return item if self._count(item) < self._seq_len else ""  # a line break ends it
        heading = study.rng.choice(strategy.headings).format(title=title, subject=study.subject)
        kept = [heading, *strategy.items(study)]
        if self._count(strategy.separator.join(kept)) > self._seq_len:
            kept = self._fitting(kept, strategy.separator)
        return strategy.separator.join(kept) if len(kept) > 1 else ""

    def _fitting(self, parts: Sequence[str], separator: str) -> list[str]:
        """The parts of a text without those that no longer fit; perhaps none."""
        kept: list[str] = []
        left = self._seq_len
        for part in parts:
            cost = self._count(separator + part)
            if cost <= left:
                kept.append(part)
                left -= cost
            elif not kept:  # no heading, no text
                break
        # Tokens of the parts may not add up to those of the whole.
        while self._count(separator.join(kept)) > self._seq_len:
            kept.pop()
        return kept

    def _count(self, text: str) -> int:
        return len(self._tokenizer.encode(text))
