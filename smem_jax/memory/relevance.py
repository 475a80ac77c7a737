"""A relevance gate: rows that were trained together speak where they are read together.

Where ordinary text reads a trained row, it is one of a few by chance; a question about what the row
was trained for reads dozens that were trained with it. So every row remembers the *group* that
trained it last, such as the number of a lesson, and a read counts only where at least `threshold`
reads of the same group lie in the last `window` tokens, its own included. A row without a group is
always open. Nothing of it is learned, and what a token may read depends on no later token.

The gate is an extension: arXiv 2510.15103 has none. There, what a fact leaves behind in unrelated
text adds up with the number of facts (docs/streams.md).
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from smem_jax.errors import InputError

NO_GROUP = -1
_MOST = 4096  # reads, and tokens


@dataclasses.dataclass(frozen=True)
class Relevance:
    """When a row of a group is open: `threshold` reads of the group in `window` tokens."""

    threshold: int
    window: int

    def __post_init__(self):
        for name, value in dataclasses.asdict(self).items():
            if not 1 <= value <= _MOST:
                raise InputError(f"relevance {name}={value} must be from 1 to {_MOST}")


def co_reads(
    groups: jax.Array,
    window: int,
    *,
    places: jax.Array | None = None,
    history: jax.Array | None = None,
    segments: jax.Array | None = None,
) -> jax.Array:
    """How many reads of a read's own group lie in the last tokens.

    Args:
      groups: the group of each row read, int32 [..., seq, reads], or `NO_GROUP`.
      window: how many tokens count, that of the read included.
      places: where the tokens stand in `history`, int32 [..., seq]; 0, 1, ... when None.
      history: groups that were read by these tokens and those before them, int32 [..., max_len,
        reads]; `groups` itself when None.
      segments: int32 [..., seq], the documents of a packed row, for tokens at 0, 1, ...; a token
        counts those of its own alone.

    Returns:
      int32 [..., seq, reads], at least 1; 0 for a read without a group.
    """
    history = groups if history is None else history
    if places is None:
        places = jnp.broadcast_to(jnp.arange(groups.shape[-2]), groups.shape[:-1])

    def with_earlier(lag: jax.Array, counts: jax.Array) -> jax.Array:
        there = jnp.maximum(places - lag, 0)
        counts_there = places >= lag
        if segments is not None:
            counts_there &= jnp.take_along_axis(segments, there, axis=-1) == segments
        earlier = jnp.take_along_axis(history, there[..., None], axis=-2)  # [..., seq, reads]
        same = groups[..., :, None] == earlier[..., None, :]
        return counts + jnp.where(counts_there[..., None], same.sum(axis=-1, dtype=jnp.int32), 0)

    counts = jax.lax.fori_loop(0, window, with_earlier, jnp.zeros_like(groups))
    return jnp.where(groups == NO_GROUP, 0, counts)


def is_open(groups: jax.Array, counts: jax.Array, relevance: Relevance) -> jax.Array:
    """Whether each read counts: bool, of the shape of `groups` and of what `co_reads` gave."""
    return (groups == NO_GROUP) | (counts >= relevance.threshold)


class RowGroups(nnx.Variable):
    """The group of each row of a value table, int32 [num_slots], or `NO_GROUP`."""


class RelevanceGate(nnx.Module):
    """The gate of a memory layer; `groups` int32 [num_slots] says what trained each row last."""

    def __init__(self, groups: jax.Array, relevance: Relevance):
        self.groups = RowGroups(groups)
        self.relevance = relevance

    def __call__(
        self, indices: jax.Array, weights: jax.Array, segments: jax.Array | None = None
    ) -> jax.Array:
        """The weights of reads [batch, seq, reads], 0 where they do not count."""
        groups = self.groups[...][indices]
        counts = co_reads(groups, self.relevance.window, segments=segments)
        return weights * is_open(groups, counts, self.relevance)

    def decode(
        self, indices: jax.Array, weights: jax.Array, positions: jax.Array, history: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """The same for tokens at `positions` int32 [batch, seq], after those of `history`.

        `history` int32 [batch, max_len, reads] holds the groups that earlier tokens read, by
        position; it is returned with those of these tokens in it.
        """
        groups = self.groups[...][indices]
        history = history.at[jnp.arange(len(groups))[:, None], positions].set(groups)
        counts = co_reads(groups, self.relevance.window, places=positions, history=history)
        return weights * is_open(groups, counts, self.relevance), history
