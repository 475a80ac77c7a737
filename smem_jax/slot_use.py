"""How evenly a batch reads the slots of a value table; the cost does not know their number."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import ArrayLike

from smem_jax.sharding import axes
from smem_jax.slots import distinct, masked_reads


def nothing_seen(num_slots: int) -> nnx.Param:
    """Marks of slots that have been read: bool [num_slots], all False, split as the table is."""
    return nnx.Param(jnp.zeros(num_slots, bool), **axes("slots"))


def entropy(indices: ArrayLike, num_slots: int, mask: ArrayLike | None = None) -> jax.Array:
    """Entropy of the slots that a batch reads, in nats: a float32 scalar.

    Its exponential is the number of slots that, read evenly, would be as spread, so a table that
    collapses to a few hub slots shows as a fall.

    Args:
      indices: slot numbers, any integer dtype, [..., top_k].
      num_slots: rows of the value table.
      mask: as for `smem_jax.slots.access_counts`.
    """
    _, counts = distinct(masked_reads(indices, num_slots, mask), num_slots)
    total = jnp.maximum(counts.sum(), 1).astype(jnp.float32)
    weighted = jnp.sum(counts * jnp.log(jnp.maximum(counts, 1).astype(jnp.float32)))
    return jnp.log(total) - weighted / total


def new_share(
    indices: ArrayLike, seen: jax.Array, mask: ArrayLike | None = None
) -> tuple[jax.Array, jax.Array]:
    """Of the slots that a batch reads, the share not in `seen`, float32; and `seen` with them.

    Args:
      indices, mask: as for `entropy`.
      seen: bool [num_slots].
    """
    slots, counts = distinct(masked_reads(indices, seen.shape[0], mask), seen.shape[0])
    is_read = counts > 0
    is_new = is_read & ~seen.at[slots].get(mode="fill", fill_value=True)
    # Those that are not read are put out of range, where nothing is written.
    slots = jnp.where(is_read, slots, seen.shape[0])
    share = is_new.sum() / jnp.maximum(is_read.sum(), 1)
    return share, seen.at[slots].set(True, mode="drop")
