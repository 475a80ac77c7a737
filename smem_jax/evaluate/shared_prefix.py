"""Tokens that all prompts begin with, run once for all of them.

A few-shot prompt is mostly examples, the same for each question. Attention is causal, so their keys
and values do not depend on what follows.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from smem_jax.models.transformer import KVCache, Transformer, default_positions

# Multiples of the one keep the number of compilations down; less than the other does not pay.
_STEP, _SHORTEST = 16, 32


def shared_length(rows: Sequence[list[int]], longest: int) -> int:
    """How many first tokens of all rows are the same and worth to be run apart: 0, 32, 48, ...

    At most `longest`, and less than the whole of a row. A single row shares nothing.
    """
    if len(rows) < 2:
        return 0
    # All rows share what the first and the last of them in order share.
    first, last = min(rows), max(rows)
    limit = min(longest, *(len(row) - 1 for row in rows))
    length = 0
    while length < limit and first[length] == last[length]:
        length += 1
    length = length // _STEP * _STEP
    return length if length >= _SHORTEST else 0


def caches(model: Transformer, ids: Sequence[int]) -> list[KVCache]:
    """Keys and values of `ids` in each block, each [1, len(ids), num_kv_heads, head_dim]."""
    if not ids:
        return model.init_cache(1, 0)
    return _caches(*nnx.split(model), np.asarray([ids], np.int32))


@functools.partial(jax.jit, static_argnums=0)
def _caches(graphdef: nnx.GraphDef, state: nnx.State, tokens: jax.Array) -> list[KVCache]:
    model = nnx.merge(graphdef, state)
    empty = model.init_cache(*tokens.shape)
    return model.decode(tokens, default_positions(tokens), empty)[1]


def widened(prefix: Sequence[KVCache], batch: int, new_tokens: int) -> list[KVCache]:
    """The caches of `batch` rows that all begin with the prefix, with room for more tokens.

    Each array [1, prefix_len, ...] becomes [batch, prefix_len + new_tokens, ...].
    """

    def wide(array: jax.Array) -> jax.Array:
        copies = jnp.broadcast_to(array, (batch, *array.shape[1:]))
        return jnp.pad(copies, ((0, 0), (0, new_tokens), *[(0, 0)] * (array.ndim - 2)))

    return jax.tree.map(wide, list(prefix))
