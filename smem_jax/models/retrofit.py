"""Memory layers put into a pretrained transformer without any pretraining of their own.

The values start at zero, so beside a feed-forward network the model is bit for bit what it was. The
queries and sub-keys are fitted to hidden states of background text, since random ones send most
reads to a few slots: the queries whiten the hidden state, and k-means places the sub-keys of each
half (see `smem_jax.memory.fit`).
"""

from collections.abc import Sequence
from typing import Literal

from flax import nnx

from smem_jax.errors import InputError
from smem_jax.memory.config import MemoryConfig
from smem_jax.memory.layer import MemoryLayer
from smem_jax.memory.tables import CompactTable, ValueTable
from smem_jax.models.transformer import Block, Transformer

Placement = Literal["beside", "instead"]


def attach(block: Block, layer: MemoryLayer, placement: Placement = "beside") -> None:
    """Puts `layer` beside the block's feed-forward network, or in its place.

    Raises InputError when the block has a memory layer already or `placement` is neither.
    """
    if placement not in ("beside", "instead"):
        raise InputError(f"placement={placement!r} must be 'beside' or 'instead'")
    if block.memory is not None:
        raise InputError("the block has a memory layer already")
    block.memory = nnx.data(layer)
    if placement == "instead":
        block.ffn = nnx.data(None)


def retrofit(
    model: Transformer,
    blocks: Sequence[int],
    config: MemoryConfig,
    *,
    placement: Placement = "beside",
    shared_values: bool = False,
    table: CompactTable | None = None,
) -> None:
    """Adds an unfitted memory layer with zero values to each block of `blocks`, in place.

    Args:
      model: the transformer to change.
      blocks: block numbers, from 0.
      config: sizes of every layer; `input_dim` and `output_dim` must be the model's `embed_dim`.
      placement: 'beside' the feed-forward network or 'instead' of it.
      shared_values: one value table for all layers, or one each.
      table: one for all layers in place of zeros.

    Raises:
      InputError: for a block that the model does not have or that is named twice.
    """
    if not blocks:
        raise InputError(
            "memory blocks [] must be different numbers from 0 to "
            f"{model.config.num_blocks - 1}, one at least"
        )
    check_blocks(blocks, model.config.num_blocks)
    shared: ValueTable | CompactTable | None = table
    for number in blocks:
        own = ValueTable(config, rngs=None) if shared is None else shared
        layer = MemoryLayer(config, table=own, rngs=nnx.Rngs(number))
        shared = own if shared_values else table
        attach(model.blocks[number], layer, placement)


def check_blocks(blocks: Sequence[int], num_blocks: int) -> None:
    """Raises InputError unless `blocks` are different blocks of a model with `num_blocks`."""
    if any(not 0 <= block < num_blocks for block in blocks) or len(set(blocks)) != len(blocks):
        raise InputError(
            f"memory blocks {list(blocks)} must be different numbers from 0 to {num_blocks - 1}"
        )


def memory_layer(model: Transformer, block: int) -> MemoryLayer:
    """The memory layer of a block; InputError where it has none."""
    layer = model.blocks[block].memory
    if layer is None:
        raise InputError(f"block {block} has no memory layer")
    return layer


def memory_blocks(model: Transformer) -> list[int]:
    """Numbers of the blocks that have a memory layer, ascending."""
    return [i for i, block in enumerate(model.blocks) if block.memory is not None]
