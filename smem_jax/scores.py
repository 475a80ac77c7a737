"""Scores of slots: how much a batch reads each of them, against how much ordinary text does.

Pure functions on arrays; `smem_jax.slots` chooses one of them by its `mode`. As there, shapes and
dtypes are always checked, values where they are concrete, and all errors are `InputError`.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from smem_jax.array_checks import integers, is_concrete, not_negative
from smem_jax.errors import InputError


def idf(document_frequency: ArrayLike, num_documents: ArrayLike) -> jax.Array:
    """log((num_documents + 1) / (1 + document_frequency)), float32 of the shape of the frequency.

    Raises:
      InputError: for a frequency below 0 or above `num_documents`, where concrete, and for less
        than one document, with which every slot would score 0.
    """
    document_frequency = integers("document_frequency", document_frequency)
    check_documents(document_frequency, num_documents)
    num_documents = jnp.asarray(num_documents, jnp.float32)
    return jnp.log((num_documents + 1) / (1 + document_frequency.astype(jnp.float32)))


def tf_idf(counts: ArrayLike, document_frequency: ArrayLike, num_documents: ArrayLike) -> jax.Array:
    """The product of `term_frequency` and `idf`, float32 [num_slots], the score of 2510.15103.

    Args:
      counts: reads of each slot in the batch, [num_slots].
      document_frequency: background batches that read each slot, integers [num_slots].
      num_documents: background batches in all.

    Raises:
      InputError: as `idf`, and for counts that are below 0, where concrete.
    """
    return term_frequency(counts) * idf(document_frequency, num_documents)


def term_frequency(counts: ArrayLike) -> jax.Array:
    """The share of each slot in the reads of the batch, float32; zeros where nothing was read.

    Raises InputError for counts that are below 0, where concrete.
    """
    counts = not_negative("counts", counts)
    if jnp.issubdtype(counts.dtype, jnp.floating):
        counts = counts.astype(jnp.float32)  # in which their sum has room
    return counts.astype(jnp.float32) / jnp.maximum(counts.sum(), 1).astype(jnp.float32)


def kl_share(
    counts: ArrayLike, document_frequency: ArrayLike, background_total: ArrayLike
) -> jax.Array:
    """What each slot adds to the divergence of the batch's reads from the background's, float32.

    With p(i) the share of slot i in the reads of the batch and q(i) its share in the background::

        kl(i) = p(i) * log(p(i) / q(i)),    q(i) = (1 + df(i)) / sum_j (1 + df(j))

    After the selection by Kullback-Leibler divergence of 'Improving Sparse Memory Finetuning'
    (2604.05248). All that is known of the background is its document frequency, so q is estimated
    from that: smoothed by one, normalised over the slots. Slots that the batch reads less than the
    background does score below 0, unread ones 0.

    Args:
      counts: reads of each slot in the batch, [num_slots], or of some slots.
      document_frequency: background batches that read each slot, integers like `counts`.
      background_total: the sum over j, of all slots: `background_total(document_frequency)`.

    Raises:
      InputError: as `term_frequency`, for a frequency of no integer dtype, and for a total that is
        no positive scalar.
    """
    total = _checked_total(background_total)
    share = term_frequency(counts)
    frequency = integers("document_frequency", document_frequency).astype(jnp.float32)
    background = (1 + frequency) / total
    return jnp.where(share > 0, share * jnp.log(share / background), 0)


def background_total(document_frequency: ArrayLike) -> jax.Array:
    """Sum of 1 + document_frequency over all slots, a float32 scalar that mode 'kl' wants.

    It belongs to the background, not to a batch: compute it once, from the whole [num_slots].
    """
    document_frequency = integers("document_frequency", document_frequency, ndim=1)
    # Integers sum to the same however an array is sharded, floats do not; and the sum may be beyond
    # 32 bits where those of the hexadecimal digits are not.
    places = range(0, 32, 4)
    digits = [
        jnp.sum(document_frequency >> place & 15, dtype=jnp.uint32).astype(jnp.float32)
        for place in places
    ]
    weights = np.exp2(places, dtype=np.float32)
    return jnp.sum(jnp.stack(digits) * weights) + document_frequency.shape[0]


def random_scores(slots: ArrayLike, key: jax.Array) -> jax.Array:
    """A uniform float32 in [0, 1) for each slot number, which depends on it and the key only."""
    slots = integers("slots", slots)
    draw = jax.vmap(lambda slot: jax.random.uniform(jax.random.fold_in(key, slot)))
    return draw(slots.ravel()).reshape(slots.shape)


def check_documents(
    document_frequency: jax.Array, num_documents: ArrayLike, name: str = "document_frequency"
) -> None:
    """Raises InputError for a frequency that so many background batches cannot have."""
    with jax.ensure_compile_time_eval():
        if is_concrete(num_documents) and num_documents < 1:  # type: ignore[operator]
            raise InputError(f"num_documents={num_documents}; at least 1 is right (or mode='tf')")
        if not is_concrete(document_frequency, num_documents) or not document_frequency.size:
            return
        low, high = document_frequency.min(), document_frequency.max()
        if low < 0 or high > num_documents:
            raise InputError(
                f"{name} of shape {document_frequency.shape} ranges from {low} to {high}; "
                f"0 to num_documents={num_documents} is right"
            )


def _checked_total(background_total: ArrayLike) -> jax.Array:
    if jnp.ndim(background_total) != 0:
        raise InputError(
            f"background_total has shape {jnp.shape(background_total)}; a scalar is right"
        )
    with jax.ensure_compile_time_eval():
        if is_concrete(background_total) and not background_total > 0:  # type: ignore[operator]
            raise InputError(f"background_total={background_total}; a number above 0 is right")
    return jnp.asarray(background_total, jnp.float32)
