"""Training sequences of facts: every wording in every frame, in a few lengths, in a fair order."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from smem_jax.data import wordings
from smem_jax.data.encode import Encoded, encode
from smem_jax.data.facts import Fact
from smem_jax.models.pretrained import Tokenizer

# Lengths are rounded up to a multiple of this.
_LENGTH_STEP = 8


class Examples(NamedTuple):
    """Sequences of one padded length, and the number of the fact that each teaches."""

    encoded: Encoded
    fact: np.ndarray  # int32 [num_rows]


def training_pairs(
    facts: Sequence[Fact], frames: Sequence[str], statements: bool
) -> list[tuple[int, str, str]]:
    """(fact number, prompt, answer) for every question and paraphrase in every frame.

    With `statements`, a statement that ends with the answer is a pair, too.
    """
    pairs = []
    for number, fact in enumerate(facts):
        for prompt in wordings.prompts((fact.question, *fact.paraphrases), frames):
            pairs.append((number, prompt, fact.answer))
        statement = wordings.statement_pair(fact) if statements else None
        if statement is not None:
            pairs.append((number, *statement))
    return pairs


def by_length(
    tokenizer: Tokenizer,
    pairs: Sequence[tuple[int, str, str]],
    seq_len: int,
    num_lengths: int,
) -> list[Examples]:
    """The pairs as at most `num_lengths` groups of about equal size, the short ones first.

    Padding is cut to the longest of a group, since a step's cost is in its tokens. Raises
    InputError, naming the fact, where a pair takes more than `seq_len` tokens.
    """
    encoded = encode(tokenizer, [pair[1:] for pair in pairs], seq_len)
    facts = np.asarray([pair[0] for pair in pairs], np.int32)
    quantiles = np.quantile(encoded.lengths, np.arange(1, num_lengths + 1) / num_lengths)
    limits = np.unique(-(-np.ceil(quantiles) // _LENGTH_STEP) * _LENGTH_STEP).astype(int)
    groups = []
    for shorter, limit in zip((0, *limits[:-1]), limits, strict=True):
        rows = np.flatnonzero((encoded.lengths > shorter) & (encoded.lengths <= limit))
        if not len(rows):  # two limits may lie between the same two lengths
            continue
        length = min(int(limit), seq_len)
        part = Encoded(
            encoded.tokens[rows, :length], encoded.answer_mask[rows, :length], encoded.lengths[rows]
        )
        groups.append(Examples(part, facts[rows]))
    return groups


class Schedule:
    """Which rows of which group each step trains on; a step's batch depends on its number alone.

    Groups are taken as often as they have rows. Within a group all facts come about equally often
    in any few steps, each with its sequences in random order; a group is shuffled anew whenever it
    has been used up.
    """

    def __init__(self, groups: Sequence[Examples], batch_size: int, seed: int):
        self._facts = [group.fact for group in groups]
        self._batch_size = batch_size
        self._seed = seed
        sizes = np.asarray([len(facts) for facts in self._facts])
        self._ends = np.cumsum(sizes / sizes.sum())
        self._steps: list[tuple[int, int]] = []  # group of each step, and how often it came before
        self._taken = [0] * len(groups)

    def batch(self, step: int) -> tuple[int, np.ndarray]:
        """The group and the rows [batch_size] of `step` (from 0)."""
        while len(self._steps) <= step:
            group = self._group(len(self._steps))
            self._steps.append((group, self._taken[group]))
            self._taken[group] += 1
        group, place = self._steps[step]
        facts = self._facts[group]
        first = place * self._batch_size
        positions = np.arange(first, first + self._batch_size)
        epochs = positions // len(facts)
        rows = [
            self._order(group, epoch)[positions[epochs == epoch] % len(facts)]
            for epoch in np.unique(epochs)
        ]
        return group, np.concatenate(rows)

    def _group(self, step: int) -> int:
        """Group of a step: of the shares, the one that a low-discrepancy number falls in."""
        point = (0.5 + step * 0.6180339887498949) % 1.0
        return min(int(np.searchsorted(self._ends, point)), len(self._ends) - 1)

    def _order(self, group: int, epoch: int) -> np.ndarray:
        random = np.random.default_rng((self._seed, group, epoch))
        facts = self._facts[group]
        rank = np.empty(len(facts))
        for fact in np.unique(facts):
            rows = np.flatnonzero(facts == fact)
            rank[rows] = (random.permutation(len(rows)) + random.random(len(rows))) / len(rows)
        return np.argsort(rank)
