"""Which taught rows a text reads, token by token, and which of them a gate lets through."""

from collections import Counter
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from smem_jax.evaluate.patched import Patched
from smem_jax.memory.relevance import NO_GROUP, co_reads, is_open
from smem_jax.memory.tables import CompactTable
from smem_jax.models.retrofit import memory_layer
from smem_jax.models.transformer import default_positions


class Heard(NamedTuple):
    """What a token reads of what was taught.

    Attributes:
      token: its text.
      slots: the taught slots that it reads, those with the greatest weights first.
      weights: of these reads, each a share of its head.
      open: whether each of them is heard.
      lesson: which most of the open ones belong to; '' where none is open or has a lesson.
    """

    token: str
    slots: list[int]
    weights: list[float]
    open: list[bool]
    lesson: str


def heard(taught: Patched, text: str) -> list[Heard]:
    """What each token of a text reads, which begins a conversation."""
    model, block = taught.model, taught.block
    ids = taught.tokenizer.encode(text)
    x = model.run_blocks(model.embed(jnp.asarray([ids], jnp.int32)), stop=block)
    _, hidden, _ = model.blocks[block].before_memory(x, default_positions(x))
    layer = memory_layer(model, block)
    reads = layer.read(hidden)
    assert isinstance(layer.table, CompactTable)  # patched.load makes no other
    is_taught = np.asarray(layer.table.places(reads.indices)[0]) > 0
    groups = jnp.full_like(reads.indices, NO_GROUP)
    is_heard = jnp.ones(groups.shape, bool)
    if layer.relevance is not None:
        gate = layer.relevance
        groups = gate.groups[...][reads.indices]
        is_heard = is_open(groups, co_reads(groups, gate.relevance.window), gate.relevance)
    found = []
    for place, token in enumerate(ids):
        order = np.argsort(-np.asarray(reads.weights[0, place]), kind="stable")
        order = order[is_taught[place][order]]
        own_groups, heard_here = np.asarray(groups[0, place]), np.asarray(is_heard[0, place])
        spoke = Counter(own_groups[order][heard_here[order]].tolist())
        spoke.pop(NO_GROUP, None)
        found.append(
            Heard(
                taught.tokenizer.decode([token]),
                np.asarray(reads.indices[0, place])[order].tolist(),
                np.asarray(reads.weights[0, place])[order].tolist(),
                heard_here[order].tolist(),
                taught.lessons[spoke.most_common(1)[0][0]] if spoke else "",
            )
        )
    return found
