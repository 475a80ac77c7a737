"""The frozen part of the model below a memory layer, run without any derivative.

Nothing below the memory layer is trained, so what reaches it is a constant of each token sequence:
the residual stream, and with the frozen queries and keys the slots read and their weights.
"""

import functools
from typing import NamedTuple

import jax
import numpy as np
import tqdm
from flax import nnx

from smem_jax.models.transformer import Transformer, default_positions

_TOKENS_AT_A_TIME = 4096


class Prefix(NamedTuple):
    """What a memory layer sees of token sequences [num_rows, seq].

    `residual` float32 [num_rows, seq, embed_dim] is the residual stream with all of the block but
    the memory added; `hidden`, of the same shape, the normalised state that the layer reads.
    """

    residual: np.ndarray
    hidden: np.ndarray


def run(model: Transformer, block: int, tokens: np.ndarray, description: str | None) -> Prefix:
    """The prefix of `tokens` int32 [num_rows, seq] up to the memory of `block`.

    `description` stands before the progress bar, which long work shows; None leaves it out.
    """
    num_rows, seq = tokens.shape
    batch = min(max(1, _TOKENS_AT_A_TIME // seq), num_rows)
    graphdef, state = nnx.split(model)
    residual = np.empty((num_rows, seq, model.config.embed_dim), np.float32)
    hidden = np.empty_like(residual)
    silent = description is None
    for start in tqdm.trange(0, num_rows, batch, desc=description, delay=2, disable=silent):
        rows = tokens[start : start + batch]
        padded = np.pad(rows, ((0, batch - len(rows)), (0, 0)))
        for whole, part in zip(
            (residual, hidden), _prefix(graphdef, state, padded, block), strict=True
        ):
            whole[start : start + batch] = part[: len(rows)]
    return Prefix(residual, hidden)


@functools.partial(jax.jit, static_argnames=("graphdef", "block"))
def _prefix(
    graphdef: nnx.GraphDef, state: nnx.State, tokens: jax.Array, block: int
) -> tuple[jax.Array, jax.Array]:
    model = nnx.merge(graphdef, state)
    x = model.run_blocks(model.embed(tokens), stop=block)
    residual, hidden, _ = model.blocks[block].before_memory(x, default_positions(x))
    return residual, hidden


def reads(
    layer, hidden: np.ndarray, tokens_at_a_time: int = _TOKENS_AT_A_TIME
) -> tuple[np.ndarray, np.ndarray]:
    """Slots int32 and weights float32 that a memory layer reads for `hidden` [..., input_dim].

    Both are [..., num_heads * top_k].
    """
    flat = hidden.reshape(-1, hidden.shape[-1])
    tokens_at_a_time = min(tokens_at_a_time, len(flat))
    graphdef, state = nnx.split(layer)
    parts = []
    for start in range(0, len(flat), tokens_at_a_time):
        part = flat[start : start + tokens_at_a_time]
        padded = np.pad(part, ((0, tokens_at_a_time - len(part)), (0, 0)))
        parts.append([np.asarray(a)[: len(part)] for a in _reads(graphdef, state, padded)])
    indices, weights = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    shape = (*hidden.shape[:-1], indices.shape[-1])
    return indices.reshape(shape), weights.reshape(shape)


@functools.partial(jax.jit, static_argnames="graphdef")
def _reads(graphdef: nnx.GraphDef, state: nnx.State, hidden: jax.Array):
    return nnx.merge(graphdef, state).read(hidden)
