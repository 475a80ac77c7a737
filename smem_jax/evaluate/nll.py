"""Negative log-likelihood of running text; that of answers is in recall.py."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from smem_jax.errors import InputError
from smem_jax.evaluate.token_scores import Places, TokenScores
from smem_jax.models.pretrained import Tokenizer
from smem_jax.models.transformer import Transformer


class TextNLL(NamedTuple):
    """Nats over all scored tokens, and how many of these there are."""

    total: float
    tokens: int

    @property
    def mean(self) -> float:
        """Nats per token."""
        return self.total / self.tokens


def text_nll(
    model: Transformer, tokenizer: Tokenizer, texts: Sequence[str], seq_len: int = 512
) -> TextNLL:
    """How unlikely running text is: `texts`, one to a line, as a single stream of tokens.

    The stream is cut into windows of `seq_len` predictions, or of as many as the model has
    positions where these are fewer. Every token but the very first is scored exactly once, from the
    tokens before it in its window; a window's first prediction comes from the last token of the
    window before. Raises InputError for text of fewer than two tokens.
    """
    stream = np.concatenate(
        [np.zeros(0, np.int32), *tokenizer.encode_batch([f"{t}\n" for t in texts])]
    )
    if len(stream) < 2:
        raise InputError(f"text of {len(stream)} tokens has no likelihood; at least 2 are needed")
    seq_len = min(seq_len, model.config.max_positions)
    inputs = stream[:-1].tolist()
    windows = [inputs[start : start + seq_len] for start in range(0, len(inputs), seq_len)]
    number = np.arange(len(inputs))
    places = Places(number // seq_len, number % seq_len, stream[1:])
    scored = TokenScores(windows, places, tokenizer.pad_id, "text likelihood").measure(model)
    return TextNLL(float(scored.nll.sum()), len(inputs))
