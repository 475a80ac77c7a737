"""Slot selection with a scratch array kept between steps: no sort, and no work on all slots.

`smem_jax.slots.select_read_slots` sorts the reads, which on a CPU takes longer than looking up what
they read. Here every read writes its number to its slot's place in an array [num_slots], and reads
what stands there then: one number for all reads of a slot, by which they can be counted. What the
array held before does not matter, so it is never cleared; a jitted step that is handed it, donated,
and hands it back makes nothing of its size.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from smem_jax.array_checks import integers
from smem_jax.errors import InputError
from smem_jax.slots import Mode, Selection, check_selectable, masked_reads, slot_scores


class Selected(NamedTuple):
    """A selection, the place in it of each read (as `smem_jax.slots.places`), and the scratch."""

    selection: Selection
    places: jax.Array  # int32 [..., top_k]
    scratch: jax.Array


def new(num_slots: int) -> jax.Array:
    """A scratch array, int32 [num_slots]."""
    return jnp.zeros(num_slots, jnp.int32)


def select(
    scratch: jax.Array,
    indices: ArrayLike,
    document_frequency: ArrayLike,
    num_documents: ArrayLike,
    top_t: int,
    mask: ArrayLike | None = None,
    mode: Mode = "tf_idf",
    key: jax.Array | None = None,
    background_total: ArrayLike | None = None,
    max_document_frequency: ArrayLike | None = None,
) -> Selected:
    """The same slots as `smem_jax.slots.select_read_slots`, whose arguments these are.

    Args:
      scratch: of `new`, or handed back by any earlier call; donate it to the jitted caller.

    Raises:
      InputError: as for that function, and for a scratch that is not int32 [num_slots].
    """
    document_frequency = integers("document_frequency", document_frequency, ndim=1)
    num_slots = document_frequency.shape[0]
    if scratch.shape != (num_slots,) or scratch.dtype != jnp.int32:
        raise InputError(
            f"scratch is {scratch.dtype} of shape {scratch.shape}; int32 ({num_slots},) is right"
        )
    check_selectable(top_t, num_slots, indices, mode)
    reads = masked_reads(indices, num_slots, mask)
    size = reads.size

    scratch = scratch.at[reads].set(jnp.arange(size, dtype=jnp.int32), mode="drop")
    speaker = _at(scratch, reads, size)  # of all reads of the same slot, the number of one
    counts = jnp.zeros(size, jnp.int32).at[speaker].add(1, mode="drop")
    frequency = _at(document_frequency, reads, 0)
    scores = slot_scores(
        counts,
        frequency,
        num_documents,
        mode,
        key,
        reads,
        background_total,
        max_document_frequency,
    )
    slots = _best(scores, counts, reads, top_t, num_slots)

    scratch = scratch.at[slots].set(jnp.arange(top_t, dtype=jnp.int32), mode="drop")
    # Those that the mask leaves out have a place, too, where others read the same slot.
    wanted = reads if mask is None else masked_reads(indices, num_slots, None)
    places = _at(scratch, wanted, top_t)
    places = jnp.where((places >= 0) & (places < top_t), places, top_t)
    places = jnp.where(_at(slots, places, num_slots) == wanted, places, top_t)
    # A read that is no slot's equals what stands in empty places of the selection.
    places = jnp.where(wanted < num_slots, places, top_t).reshape(jnp.shape(indices))
    return Selected(Selection(slots, slots < num_slots), places, scratch)


def _at(array: jax.Array, positions: jax.Array, otherwise: int) -> jax.Array:
    return array.at[positions].get(mode="fill", fill_value=otherwise)


def _best(
    scores: jax.Array, counts: jax.Array, slots: jax.Array, top_t: int, num_slots: int
) -> jax.Array:
    """The top-t slots, ascending, of candidates in any order; each with its count but once."""
    size = min(top_t, slots.size)
    ranked = jnp.where((counts > 0) & (scores > -jnp.inf), scores, -jnp.inf)
    ranked = jnp.where(ranked == 0, 0.0, ranked)  # top_k takes -0.0 to be less than 0.0
    best, positions = jax.lax.top_k(ranked, size)
    last = best.min()  # not best[-1]: of a top-k that is sliced, XLA's CPU backend makes a sort
    is_above = best > last
    above = jnp.where(is_above, slots[positions], num_slots)
    # Of those that score as the last one does, the lowest slots fill what is left.
    is_tied = (ranked == last) & (ranked > -jnp.inf)
    lowest = _smallest(jnp.where(is_tied, slots, num_slots), size)
    tied = jnp.where(jnp.arange(size) < size - is_above.sum(), lowest, num_slots)
    chosen = jnp.sort(jnp.concatenate([above, tied]))[:size]
    return jnp.pad(chosen, (0, top_t - size), constant_values=num_slots)


def _smallest(integers: jax.Array, size: int) -> jax.Array:
    """The smallest of non-negative int32 below 2**31 - 2**24, ascending.

    By their bit patterns as floats, which have the same order and for which XLA's top-k on a CPU
    does not sort everything. The offset keeps clear of denormal numbers, which may count as zero.
    """
    offset = 2**23
    floats = jax.lax.bitcast_convert_type(integers + offset, jnp.float32)
    smallest = -jax.lax.top_k(-floats, size)[0]
    return jax.lax.bitcast_convert_type(smallest, jnp.int32) - offset
