"""What a memory layer reads for texts, and a sample of ordinary ones."""

from typing import NamedTuple

import numpy as np

from smem_jax.models.retrofit import memory_layer
from smem_jax.models.transformer import Transformer
from smem_jax.train import prefix
from smem_jax.train.background import Documents

_ROWS_AT_A_TIME = 512


class Reads(NamedTuple):
    """Of each token the slots of all heads together, and their weights: a share of each head."""

    indices: np.ndarray  # int32 [rows, seq, reads]
    weights: np.ndarray  # float32 [rows, seq, reads]


def reads(model: Transformer, block: int, tokens: np.ndarray, description: str | None) -> Reads:
    """The reads of `tokens` int32 [rows, seq]; `description` as in `smem_jax.train.prefix.run`."""
    parts = []
    for start in range(0, len(tokens), _ROWS_AT_A_TIME):
        part = tokens[start : start + _ROWS_AT_A_TIME]
        hidden = prefix.run(model, block, part, description).hidden
        parts.append(prefix.reads(memory_layer(model, block), hidden))
    return Reads(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def sample(documents: Documents, num_tokens: int, seed: int) -> Documents:
    """Random documents of at most `num_tokens` with their padding, but one at least."""
    count = max(1, num_tokens // documents.tokens.shape[1])
    order = np.random.default_rng(seed).permutation(len(documents.tokens))
    return Documents(*(array[np.sort(order[:count])] for array in documents))
