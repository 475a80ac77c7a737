"""Whether a model would give an expected answer, without generating it.

Generation takes a forward pass for each token; this takes one for all. The answer is put behind the
prompt, and greedy decoding would give it just where each of its tokens is the likeliest after those
before it, and the likeliest after the last one ends an answer.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from smem_jax.data.encode import answer_ids
from smem_jax.errors import InputError
from smem_jax.evaluate.token_scores import Places, TokenScores
from smem_jax.models.pretrained import Tokenizer
from smem_jax.models.transformer import Transformer


class Followed(NamedTuple):
    """Of each prompt: `right` bool, whether the model gives the answer; `nll` float64.

    `nll` is nats per token of the answer, with the space before it and without an end.
    """

    right: np.ndarray
    nll: np.ndarray


class Prompts:
    """Prompts with one expected answer each, encoded once and measured often."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        prompts: Sequence[str],
        answers: Sequence[str],
        name: str = "answers",
    ):
        """Encodes them; `name` stands before the progress bar.

        An answer follows its prompt after a space. Raises InputError for an empty prompt, and
        ValueError where there are not as many answers as prompts.
        """
        starts = tokenizer.encode_batch(list(prompts))
        rows: list[list[int]] = []
        places = []
        for row, (prompt, start, answer) in enumerate(zip(prompts, starts, answers, strict=True)):
            if not start:
                raise InputError(f"prompt {prompt!r} is empty; an answer needs a token before it")
            target = answer_ids(tokenizer, answer)
            rows.append(start + target)
            positions = np.arange(len(start) - 1, len(rows[-1]))
            # After the last token no target is scored: any that ends an answer will do there.
            places.append(np.stack([np.full_like(positions, row), positions, [*target, 0]]))
        row, position, target = np.concatenate([np.zeros((3, 0), int), *places], axis=1)
        self._num_prompts = len(rows)
        self._places = Places(row, position, target)
        self._is_end = np.diff(row, append=len(rows)) > 0
        self._stops = tokenizer.special_ids + tokenizer.ids_containing("\n")
        self._scores = TokenScores(rows, self._places, tokenizer.pad_id, name)

    def __len__(self) -> int:
        return self._num_prompts

    def measure(self, model: Transformer) -> Followed:
        """Where the model gives the expected answer, and how unlikely that is to it.

        `right` is what `generate.answers` would find if that had tokens enough, but for answers
        that differ only in spaces around them or in how the same text is cut into tokens.
        """
        scored = self._scores.measure(model)
        ends = np.isin(scored.likeliest, self._stops)
        fits = np.where(self._is_end, ends, scored.likeliest == self._places.target)
        row, count = self._places.row, self._num_prompts
        misses = np.bincount(row, weights=~fits, minlength=count)
        nats = np.bincount(row, weights=np.where(self._is_end, 0, scored.nll), minlength=count)
        tokens = np.bincount(row, minlength=count) - 1
        return Followed(misses == 0, nats / tokens)


def follows(
    model: Transformer, tokenizer: Tokenizer, prompts: Sequence[str], answers: Sequence[str]
) -> Followed:
    """Whether the model gives each answer to its prompt; see `Prompts`."""
    return Prompts(tokenizer, prompts, answers).measure(model)
