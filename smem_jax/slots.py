"""Which slots a batch reads much and ordinary text reads little: counts, scores, top-t.

Pure functions on arrays, after 'Continual Learning via Sparse Memory Finetuning' (2510.15103).
A *slot* is a row of a value table with `num_slots` rows; a *read* is one slot number that the
product-key search returned. With c(i) the reads of slot i in a batch, B background batches and
df(i) how many of those read slot i at all::

    tf_idf(i) = c(i) / sum_j c(j) * log((B + 1) / (1 + df(i)))

The top t slots by that score are trained. Only slots that were read can be among them, so
`select_read_slots` looks at the reads alone: its cost does not grow with the number of slots.

A slot that few documents of ordinary text read can still be outscored by one that a batch reads in
every line, and a batch of one fact has few lines. With `max_document_frequency`, no slot is trained
that more documents read, whatever the batch does.

Shapes, dtypes and static sizes are always checked; values only where they are concrete, since a
traced value cannot raise. What a bad traced value does is said at each function. All errors are
`InputError`, a `ValueError`.
"""

from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from smem_jax.array_checks import (
    check_size,
    indices_below,
    integers,
    no_nan,
    not_negative,
    same_shape,
    unsharded,
)
from smem_jax.errors import InputError
from smem_jax.scores import check_documents, kl_share, random_scores, term_frequency, tf_idf

Mode = Literal["tf_idf", "tf", "kl", "random", "read"]

_BACKGROUND_TOTAL = "smem_jax.scores.background_total(document_frequency)"


class Selection(NamedTuple):
    """The trainable slots of a batch.

    `slots` int32 [top_t] ascends: the chosen slots, then `num_slots` (out of range, so that a
    scatter with mode='drop' ignores it) in the places that the batch read too few slots to fill.
    `is_real` bool [top_t] tells the two apart.
    """

    slots: jax.Array
    is_real: jax.Array


def access_counts(indices: ArrayLike, num_slots: int, mask: ArrayLike | None = None) -> jax.Array:
    """How often each slot is read: int32 [num_slots].

    Args:
      indices: slot numbers, any integer dtype, [..., top_k] (or any other non-empty shape).
      num_slots: rows of the value table.
      mask: bool, its axes are the leading ones of `indices` (a size of 1 stretches): [batch, seq]
        for indices [batch, seq, num_heads, top_k]. Reads where it is False, such as those of
        padding, are not counted.

    Raises:
      InputError: for indices of another dtype, empty or outside of [0, num_slots) (when traced,
        such reads are not counted), and for a mask that does not fit.
    """
    check_size("num_slots", num_slots)
    flat = masked_reads(indices, num_slots, mask)
    return jnp.zeros(num_slots, jnp.int32).at[flat].add(1, mode="drop")


def add_document(document_frequency: ArrayLike, counts: ArrayLike) -> jax.Array:
    """Document frequency int32 [num_slots] with one more batch, whose access counts are given.

    A batch counts once for a slot, however often it reads it. Start with zeros. A count that is not
    above 0 is taken for no read.

    Raises:
      InputError: for a frequency that is no vector of integers, and counts of another shape.
    """
    document_frequency = integers("document_frequency", document_frequency, ndim=1)
    counts = same_shape("counts", counts, document_frequency)
    return document_frequency.astype(jnp.int32) + (counts > 0)


def document_frequency(counts: ArrayLike) -> jax.Array:
    """How many of a set of batches read each slot: int32 [num_slots].

    Args:
      counts: access counts of the batches, [num_batches, num_slots].

    Raises:
      InputError: for counts of another number of axes.
    """
    if jnp.ndim(counts) != 2:
        raise InputError(f"counts has shape {jnp.shape(counts)}; [num_batches, num_slots] is right")
    return jnp.sum(jnp.asarray(counts) > 0, axis=0, dtype=jnp.int32)


def top_slots(scores: ArrayLike, counts: ArrayLike, top_t: int) -> Selection:
    """The `top_t` slots with the highest scores among those that were read.

    Of equal scores the lower slot goes first. Fewer slots read than `top_t` is no error.

    Args:
      scores: [num_slots], any real dtype; compared as float32.
      counts: reads of each slot, [num_slots]; a slot with none is never selected.
      top_t: slots to select, a Python integer from 1 to num_slots.

    Raises:
      InputError: for shapes that differ, top_t out of range and scores that are NaN (when traced, a
        slot with such a score is not selected).
    """
    if jnp.ndim(scores) != 1:
        raise InputError(f"scores has shape {jnp.shape(scores)}; [num_slots] is right")
    scores = no_nan("scores", scores).astype(jnp.float32)
    counts = not_negative("counts", same_shape("counts", counts, scores))
    num_slots = scores.shape[0]
    check_top_t(top_t, num_slots)
    return _best(scores, counts, jnp.arange(num_slots, dtype=jnp.int32), top_t, num_slots)


def select_read_slots(
    indices: ArrayLike,
    document_frequency: ArrayLike,
    num_documents: ArrayLike,
    top_t: int,
    mask: ArrayLike | None = None,
    mode: Mode = "tf_idf",
    key: jax.Array | None = None,
    background_total: ArrayLike | None = None,
    max_document_frequency: ArrayLike | None = None,
) -> Selection:
    """`top_slots` of `slot_scores` of `access_counts`, at a cost that does not know num_slots.

    The reads are sorted, equal ones counted, and the scores of those at most `indices.size` slots
    compared; of `document_frequency` only their entries are looked at.

    Args:
      indices: slot numbers, any integer dtype, [..., top_k].
      document_frequency: background batches that read each slot, integers [num_slots].
      num_documents: background batches in all.
      top_t: slots to select, a Python integer from 1 to num_slots.
      mask: as for `access_counts`.
      mode: as for `slot_scores`.
      key: as for `slot_scores`.
      background_total: as for `slot_scores`.
      max_document_frequency: as for `slot_scores`.

    Raises:
      InputError: as the functions that it stands for, and for a top_t that might leave out a read
        slot in mode 'read': less than both num_slots and the number of reads.
    """
    document_frequency = integers("document_frequency", document_frequency, ndim=1)
    num_slots = document_frequency.shape[0]
    check_selectable(top_t, num_slots, indices, mode)
    slots, counts = distinct(masked_reads(indices, num_slots, mask), num_slots)
    frequency = document_frequency.at[slots].get(mode="fill", fill_value=0)
    scores = slot_scores(
        counts,
        frequency,
        num_documents,
        mode,
        key,
        slots,
        background_total,
        max_document_frequency,
    )
    return _best(scores, counts, slots, top_t, num_slots)


def places(slots: jax.Array, indices: jax.Array) -> jax.Array:
    """Where in the selected `slots` each read finds its own: int32 [..., top_k] in [0, top_t].

    Args:
      slots: int32 [top_t], ascending, as in a `Selection`.
      indices: slot numbers [..., top_k]; one that is not among the slots gets top_t.
    """
    top_t = slots.shape[0]
    # Unrolled, since a loop of so few steps costs as much as they do.
    found = jnp.searchsorted(slots, indices, method="scan_unrolled").astype(jnp.int32)
    is_there = slots[jnp.minimum(found, top_t - 1)] == indices
    return jnp.where(is_there, found, top_t)


def slot_scores(
    counts: ArrayLike,
    document_frequency: ArrayLike,
    num_documents: ArrayLike,
    mode: Mode = "tf_idf",
    key: jax.Array | None = None,
    slots: ArrayLike | None = None,
    background_total: ArrayLike | None = None,
    max_document_frequency: ArrayLike | None = None,
) -> jax.Array:
    """The score by which slots are selected, float32 of the shape of `counts`.

    Args:
      counts: reads of each slot, [num_slots].
      document_frequency: background batches that read each slot, integers [num_slots].
      num_documents: background batches in all.
      mode: 'tf_idf' (the paper), 'tf' (counts alone, its ablation), 'kl' (its follow-up, see
        `smem_jax.scores.kl_share`), 'random' (a baseline: any slot that was read, evenly) or 'read'
        (all score the same, to train every slot that was read; top_t has to have room for them).
      key: the random key that 'random' wants; the other modes take none.
      slots: which slots the counts belong to; all in order when None.
      background_total: the scalar `smem_jax.scores.background_total(document_frequency)` of all
        slots that 'kl' wants, since those given may be a few of them; the other modes take none.
      max_document_frequency: a slot that more documents read scores -inf and is never selected, in
        any mode; an integer from 0 on, or None for no limit. (scikit-learn's `max_df`.)

    Raises:
      InputError: for a mode that does not exist, a key or total with the wrong mode, shapes that
        differ, and, where they are concrete, for counts or a limit below 0 and a frequency that so
        many documents cannot have. Traced, such values give scores that mean nothing.
    """
    scores = _scores(counts, document_frequency, num_documents, mode, key, slots, background_total)
    if max_document_frequency is None:
        return scores
    limit = not_negative("max_document_frequency", max_document_frequency)
    return jnp.where(jnp.asarray(document_frequency) > limit, -jnp.inf, scores)


def _scores(
    counts: ArrayLike,
    document_frequency: ArrayLike,
    num_documents: ArrayLike,
    mode: Mode,
    key: jax.Array | None,
    slots: ArrayLike | None,
    background_total: ArrayLike | None,
) -> jax.Array:
    check_mode(mode)
    counts = same_shape("counts", counts, document_frequency)
    _check_belongs("key", key, "random", mode, "a key from jax.random.key")
    _check_belongs("background_total", background_total, "kl", mode, _BACKGROUND_TOTAL)
    if mode == "tf":
        return term_frequency(counts)
    if mode == "read":
        return jnp.ones(not_negative("counts", counts).shape, jnp.float32)
    if background_total is not None:
        check_documents(integers("document_frequency", document_frequency), num_documents)
        return kl_share(counts, document_frequency, background_total)
    if key is not None:
        return random_scores(jnp.arange(counts.size) if slots is None else slots, key)
    return tf_idf(counts, document_frequency, num_documents)


def check_top_t(top_t: int, num_slots: int) -> None:
    """Raises InputError unless `top_t` is an integer from 1 to `num_slots`."""
    check_size("top_t", top_t)
    if top_t > num_slots:
        raise InputError(f"top_t={top_t} exceeds num_slots={num_slots}")


def check_limit(name: str, max_document_frequency: int) -> None:
    """Raises InputError for a field that is below 0; there, 0 stands for no limit."""
    if max_document_frequency < 0:
        raise InputError(f"{name}={max_document_frequency} must be at least 0; 0 is no limit")


def check_selectable(top_t: int, num_slots: int, indices: ArrayLike, mode: Mode) -> None:
    """Raises InputError for a `top_t` that num_slots does not allow, or mode 'read' finds small."""
    check_top_t(top_t, num_slots)
    most = min(num_slots, np.size(indices))
    if mode == "read" and top_t < most:
        raise InputError(
            f"top_t={top_t} with mode='read' may leave out read slots; at least {most}, the lesser "
            "of num_slots and the number of reads, is right"
        )


def check_mode(mode: str) -> None:
    """Raises InputError for a selection mode that does not exist."""
    if mode not in get_args(Mode):
        raise InputError(f"mode={mode!r}; one of {', '.join(map(repr, get_args(Mode)))} is right")


def _check_belongs(name: str, value: object, owner: Mode, mode: Mode, right: str) -> None:
    if mode == owner and value is None:
        raise InputError(f"{name}=None with mode={mode!r}; {right} is right")
    if mode != owner and value is not None:
        raise InputError(f"a {name} is given with mode={mode!r}; {name}=None is right")


def masked_reads(indices: ArrayLike, num_slots: int, mask: ArrayLike | None) -> jax.Array:
    """Flat int32 slot numbers, with `num_slots` in place of what must not be counted."""
    # A narrow dtype could not hold num_slots.
    indices = indices_below("indices", indices, num_slots).astype(jnp.int32)
    counted = (indices >= 0) & (indices < num_slots)
    if mask is not None:
        counted &= _leading(mask, indices.shape)
    return unsharded(jnp.where(counted, indices, num_slots)).ravel()


def _best(
    scores: jax.Array, counts: jax.Array, slots: jax.Array, top_t: int, num_slots: int
) -> Selection:
    """Top-t of candidates whose `slots` ascend where `counts` is above 0."""
    ranked = jnp.where((counts > 0) & (scores > -jnp.inf), scores, -jnp.inf)
    # lax.top_k puts the lower position first among equals, and positions are in order of slots. It
    # takes -0.0 to be less than 0.0.
    ranked = jnp.where(ranked == 0, 0.0, ranked)
    best, positions = jax.lax.top_k(ranked, min(top_t, ranked.shape[0]))
    chosen = jnp.sort(jnp.where(best > -jnp.inf, slots[positions], num_slots))
    chosen = jnp.pad(chosen, (0, top_t - chosen.shape[0]), constant_values=num_slots)
    return Selection(chosen, chosen < num_slots)


def distinct(reads: jax.Array, num_slots: int) -> tuple[jax.Array, jax.Array]:
    """Sorted `reads` [n], and at the first of each run of equal slots its length, elsewhere 0."""
    reads = jnp.sort(reads)
    is_first = jnp.concatenate([jnp.ones(1, bool), reads[1:] != reads[:-1]])
    places = jnp.arange(reads.shape[0], dtype=jnp.int32)
    starts = jax.lax.cummin(jnp.where(is_first, places, reads.shape[0]), reverse=True)
    ends = jnp.concatenate([starts[1:], jnp.full(1, reads.shape[0], jnp.int32)])
    return reads, jnp.where(is_first & (reads < num_slots), ends - places, 0)


def _leading(mask: ArrayLike, shape: tuple[int, ...]) -> jax.Array:
    mask = jnp.asarray(mask)
    fits = mask.ndim <= len(shape) and all(
        size in (1, whole) for size, whole in zip(mask.shape, shape, strict=False)
    )
    if mask.dtype != jnp.bool_ or not fits:
        raise InputError(
            f"mask is {mask.dtype} of shape {mask.shape}; bool whose axes are the leading ones of "
            f"indices, of shape {shape}, is right"
        )
    return mask.reshape(mask.shape + (1,) * (len(shape) - mask.ndim))
