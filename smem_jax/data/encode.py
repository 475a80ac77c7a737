"""Prompts and answers as padded token arrays."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from smem_jax.errors import InputError
from smem_jax.models.pretrained import Tokenizer

ANSWER_END = "\n"


class Encoded(NamedTuple):
    """Rows of prompt and answer, padded on the right.

    `answer_mask` is True at each position whose next token belongs to the answer or ends it: the
    positions whose predictions bear the loss. `lengths` counts the tokens of a row without padding.
    """

    tokens: np.ndarray  # int32 [num_rows, seq]
    answer_mask: np.ndarray  # bool [num_rows, seq]
    lengths: np.ndarray  # int32 [num_rows]


def answer_ids(tokenizer: Tokenizer, answer: str, end: str = "") -> list[int]:
    """Tokens of an answer as it follows a prompt: with a space before it, and `end` after it.

    The answer has the same ones with an end and without, also where a tokenizer has one token for
    a full stop and the line break behind it.
    """
    alone = tokenizer.encode(f" {answer}")
    whole = tokenizer.encode(f" {answer}{end}")
    return whole if whole[: len(alone)] == alone else alone + tokenizer.encode(end)


def encode(tokenizer: Tokenizer, pairs: Sequence[tuple[str, str]], seq_len: int) -> Encoded:
    """Encodes (prompt, answer) pairs; an answer ends with a line break, so that it learns to stop.

    Raises InputError, naming the prompt and the answer, for a row longer than `seq_len` tokens, and
    for an empty prompt, since nothing would predict the first token of its answer.
    """
    tokens = np.full((len(pairs), seq_len), tokenizer.pad_id, np.int32)
    answer_mask = np.zeros((len(pairs), seq_len), bool)
    lengths = np.zeros(len(pairs), np.int32)
    for row, (prompt, answer) in enumerate(pairs):
        prompt_ids = tokenizer.encode(prompt)
        if not prompt_ids:
            raise InputError(f"the prompt before the answer {answer[:80]!r} is empty")
        ids = prompt_ids + answer_ids(tokenizer, answer, ANSWER_END)
        if len(ids) > seq_len:
            raise InputError(
                f"the fact {prompt[:80]!r} with answer {answer[:80]!r} takes {len(ids)} tokens, "
                f"the sequence length is {seq_len}"
            )
        tokens[row, : len(ids)] = ids
        answer_mask[row, len(prompt_ids) - 1 : len(ids) - 1] = True
        lengths[row] = len(ids)
    return Encoded(tokens, answer_mask, lengths)
