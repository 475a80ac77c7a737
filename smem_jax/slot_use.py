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


def measure(
    indices: ArrayLike, seen: jax.Array, mask: ArrayLike | None = None
) -> tuple[dict[str, jax.Array], jax.Array]:
    """How a batch reads the slots, and `seen` with what it read.

    Args:
      indices: slot numbers, any integer dtype, [..., top_k].
      seen: bool [num_slots].
      mask: as for `smem_jax.slots.access_counts`.

    Returns:
      float32 scalars, and bool [num_slots]. 'slot_entropy' is in nats: its exponential is the
      number of slots that, read evenly, would be as spread, so a table that collapses to a few hub
      slots shows as a fall. 'new_slots' is the share of the slots read that was not seen before.
    """
    num_slots = seen.shape[0]
    slots, counts = distinct(masked_reads(indices, num_slots, mask), num_slots)
    is_read = counts > 0
    total = jnp.maximum(counts.sum(), 1).astype(jnp.float32)
    weighted = jnp.sum(counts * jnp.log(jnp.maximum(counts, 1).astype(jnp.float32)))
    is_new = is_read & ~seen.at[slots].get(mode="fill", fill_value=True)
    metrics = {
        "slot_entropy": jnp.log(total) - weighted / total,
        "new_slots": is_new.sum() / jnp.maximum(is_read.sum(), 1),
    }
    return metrics, seen.at[slots].set(True, mode="drop")
