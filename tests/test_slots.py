"""Slot selection against numpy, and the sparse form against the dense one."""

import functools
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smem_jax import slots
from smem_jax.errors import InputError
from smem_jax.scores import background_total, tf_idf

# Few sizes, since each costs a compilation.
_SIZES = [(1, (3, 2)), (40, (5, 2, 3)), (3000, (30,))]


@functools.partial(jax.jit, static_argnames=("top_t", "mode"))
def _dense(indices, mask, frequency, num_documents, key, *, top_t, mode):
    counts = slots.access_counts(indices, frequency.shape[0], mask)
    total = background_total(frequency) if mode == "kl" else None
    scores = slots.slot_scores(counts, frequency, num_documents, mode, key, background_total=total)
    return slots.top_slots(scores, counts, top_t), scores, counts


@functools.partial(jax.jit, static_argnames=("top_t", "mode"))
def _sparse(indices, mask, frequency, num_documents, key, *, top_t, mode):
    total = background_total(frequency) if mode == "kl" else None
    return slots.select_read_slots(indices, frequency, num_documents, top_t, mask, mode, key, total)


@st.composite
def _batches(draw):
    """Reads, padding mask and background with many equal counts and frequencies."""
    num_slots, shape = draw(st.sampled_from(_SIZES))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    spread = draw(st.sampled_from([1, 3, num_slots]))
    indices = (rng.integers(0, spread, shape) * draw(st.sampled_from([1, 5]))) % num_slots
    mask = rng.random(shape[:1]) < draw(st.sampled_from([0.0, 0.6, 1.0]))
    num_documents = draw(st.sampled_from([1, 3, 1000]))
    frequency = rng.integers(0, num_documents + 1, num_slots)
    top_t = draw(st.sampled_from([min(num_slots, 4), min(num_slots, 35)]))
    return indices.astype(np.int32), mask, frequency.astype(np.int32), num_documents, top_t


@given(batch=_batches(), mode=st.sampled_from(get_args(slots.Mode)))
@settings(deadline=None, max_examples=40)
def test_selection_is_that_of_numpy_and_sparse_equals_dense(batch, mode):
    indices, mask, frequency, num_documents, top_t = batch
    num_slots = len(frequency)
    key = jax.random.key(3) if mode == "random" else None
    if mode == "read":
        top_t = min(num_slots, indices.size)
    dense, scores, counts = _dense(
        indices, mask, frequency, num_documents, key, top_t=top_t, mode=mode
    )

    expected_counts = np.bincount(indices[mask].ravel(), minlength=num_slots)
    np.testing.assert_array_equal(counts, expected_counts)
    by_score = np.lexsort((np.arange(num_slots), -np.asarray(scores)))
    chosen = np.sort([slot for slot in by_score if expected_counts[slot] > 0][:top_t])
    np.testing.assert_array_equal(dense.slots[: len(chosen)], chosen)
    np.testing.assert_array_equal(dense.slots[len(chosen) :], num_slots)
    np.testing.assert_array_equal(dense.is_real, np.arange(top_t) < len(chosen))

    sparse = _sparse(indices, mask, frequency, num_documents, key, top_t=top_t, mode=mode)
    np.testing.assert_array_equal(sparse.slots, dense.slots)
    np.testing.assert_array_equal(sparse.is_real, dense.is_real)


def test_slots_of_too_many_documents_are_never_selected():
    frequency = np.asarray([0, 5, 2, 9, 3], np.int32)
    reads = np.repeat(np.arange(5, dtype=np.int32), [1, 9, 2, 9, 3])[:, None]
    for mode in ("tf_idf", "tf"):
        for limit in range(10):
            scores = slots.slot_scores(
                np.bincount(reads.ravel()), frequency, 9, mode, max_document_frequency=limit
            )
            np.testing.assert_array_equal(scores == -np.inf, frequency > limit)
            found = slots.select_read_slots(
                reads, frequency, 9, 5, mode=mode, max_document_frequency=limit
            )
            allowed = np.flatnonzero(frequency <= limit)
            np.testing.assert_array_equal(found.slots[: len(allowed)], allowed)
            np.testing.assert_array_equal(found.is_real, np.arange(5) < len(allowed))
    with pytest.raises(InputError, match="max_document_frequency"):
        slots.select_read_slots(reads, frequency, 9, 5, max_document_frequency=-1)


def test_eager_and_compiled_selection_agree():
    rng = np.random.default_rng(0)
    indices, frequency = rng.integers(0, 3000, (40, 8)), rng.integers(0, 50, 3000)
    eager = slots.select_read_slots(indices, frequency, 50, 64)
    dense, _, _ = _dense(indices, None, frequency, 50, None, top_t=64, mode="tf_idf")
    np.testing.assert_array_equal(eager.slots, dense.slots)
    assert eager.slots.dtype == jnp.int32
    assert eager.is_real.all()


def test_a_batch_counts_once_for_a_slot():
    batches = np.array([[3, 0, 1], [2, 0, 0], [0, 0, 7]])
    np.testing.assert_array_equal(slots.document_frequency(batches), [2, 0, 2])
    accumulated = jnp.zeros(3, jnp.int32)
    for counts in batches:
        accumulated = slots.add_document(accumulated, counts)
    np.testing.assert_array_equal(accumulated, [2, 0, 2])
    assert accumulated.dtype == slots.document_frequency(batches).dtype == jnp.int32


def test_mask_leaves_out_padding_and_stretches():
    indices = np.array([[[0, 1], [1, 2]], [[2, 2], [3, 3]]])  # [batch, seq, top_k]
    real = np.array([[True, False], [True, True]])
    np.testing.assert_array_equal(slots.access_counts(indices, 5, real), [1, 1, 2, 2, 0])
    np.testing.assert_array_equal(slots.access_counts(indices, 5, real[:, :1]), [1, 2, 3, 2, 0])


def test_equal_scores_go_to_the_lower_slot():
    selection = slots.top_slots(np.ones(6), np.array([0, 1, 1, 0, 1, 1]), 3)
    np.testing.assert_array_equal(selection.slots, [1, 2, 4])


def test_zeros_of_either_sign_are_equal():
    select = jax.jit(lambda scores: slots.top_slots(scores, jnp.ones(4), 2))
    np.testing.assert_array_equal(select(np.array([-0.0, 0.0, -1.0, 0.0])).slots, [0, 1])


def test_a_slot_of_every_document_can_still_be_chosen_but_an_unread_one_cannot():
    selection = slots.top_slots(
        tf_idf([2, 0, 0], [7, 0, 0], 7), counts=np.array([2, 0, 0]), top_t=2
    )
    np.testing.assert_array_equal(selection.slots, [0, 3])
    np.testing.assert_array_equal(selection.is_real, [True, False])


def test_mode_read_selects_whatever_was_read():
    indices, mask = np.array([[4, 1], [4, 6], [0, 7]]), np.array([True, True, False])
    selection = slots.select_read_slots(indices, np.ones(9, int), 3, 6, mask, mode="read")
    np.testing.assert_array_equal(selection.slots, [1, 4, 6, 9, 9, 9])


def test_a_padded_table_does_not_change_what_kl_selects():
    """As with all modes, what is not read has no say but for its share in the total."""
    rng = np.random.default_rng(0)
    indices, frequency = rng.integers(0, 60, (20, 4)), rng.integers(0, 9, 90)
    total = background_total(frequency)
    select = functools.partial(slots.select_read_slots, num_documents=9, top_t=8, mode="kl")
    whole = select(indices, frequency, background_total=total)
    part = select(indices, frequency[:60], background_total=total)
    np.testing.assert_array_equal(part.slots, whole.slots)


def test_padding_alone_selects_nothing():
    selection = slots.select_read_slots(
        np.zeros((2, 4), int), np.zeros(8, int), 3, 2, mask=np.zeros(2, bool)
    )
    np.testing.assert_array_equal(selection.slots, [8, 8])
    assert not selection.is_real.any()


def test_traced_indices_out_of_range_are_not_counted():
    counts = jax.jit(lambda indices: slots.access_counts(indices, 3))(np.array([-1, 0, 3, 99, 2]))
    np.testing.assert_array_equal(counts, [1, 0, 1])


def test_traced_nan_is_not_selected():
    select = jax.jit(lambda scores: slots.top_slots(scores, jnp.ones(3), 2))
    np.testing.assert_array_equal(select(np.array([np.nan, 1, 2], np.float32)).slots, [1, 2])


def test_indices_of_a_narrow_dtype_reach_large_tables():
    indices = np.array([[100, 127]], np.int8)
    selection = slots.select_read_slots(indices, np.zeros(3000, int), 1, 4)
    np.testing.assert_array_equal(selection.slots, [100, 127, 3000, 3000])


def _temporary_bytes(num_slots, mode, top_t, total):
    compiled = (
        jax.jit(
            lambda reads, frequency: slots.select_read_slots(
                reads, frequency, 9, top_t, mode=mode, background_total=total
            )
        )
        .lower(
            jax.ShapeDtypeStruct((32, 8), jnp.int32), jax.ShapeDtypeStruct((num_slots,), jnp.int32)
        )
        .compile()
    )
    cost = compiled.cost_analysis()
    return compiled.memory_analysis().temp_size_in_bytes, cost["flops"]


@pytest.mark.parametrize(
    "arguments", [("tf_idf", 16, None), ("kl", 16, 1e6), ("read", 256, None)], ids=lambda a: a[0]
)
def test_cost_of_selection_does_not_know_the_number_of_slots(arguments):
    assert _temporary_bytes(2**10, *arguments) == _temporary_bytes(2**22, *arguments)


_NINE = np.zeros(9, int)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: slots.top_slots(np.ones(9), _NINE, 10), "top_t=10 exceeds num_slots=9"),
        (lambda: slots.select_read_slots([[1]], _NINE, 1, 10), "top_t=10 exceeds num_slots=9"),
        (lambda: slots.top_slots(np.ones(9), _NINE, 0), "top_t=0; an integer of at least 1"),
        (lambda: slots.top_slots(np.ones(9), _NINE, 2.0), "top_t=2.0; an integer"),
        (lambda: slots.top_slots(np.ones((3, 3)), _NINE, 1), r"scores has shape \(3, 3\)"),
        (lambda: slots.top_slots(np.ones(9), np.ones(8), 1), r"counts has shape \(8,\); \(9,\)"),
        (lambda: slots.top_slots(np.full(9, np.nan), _NINE, 1), r"scores of shape \(9,\) has NaN"),
        (lambda: slots.access_counts(np.ones((2, 3)), 9), r"indices is float64 of shape \(2, 3\)"),
        (lambda: slots.access_counts([[1, 9]], 9), r"indices .* 1 to 9; 0 to 8 is right"),
        (lambda: slots.access_counts([[-1, 3]], 9), "ranges from -1 to 3"),
        (lambda: slots.access_counts([[2**33]], 9), "values beyond int32"),
        (lambda: slots.access_counts(np.zeros((0, 4), int), 9), r"indices has shape \(0, 4\)"),
        (lambda: slots.access_counts([[1]], 0), "num_slots=0"),
        (lambda: slots.access_counts([[1]], 9, mask=[1]), "mask is int.* bool"),
        (lambda: slots.access_counts([[1]], 9, mask=np.ones(2, bool)), r"mask .* shape \(2,\)"),
        (lambda: slots.access_counts([1], 9, mask=np.ones((1, 1), bool)), "leading"),
        (lambda: slots.document_frequency(_NINE), r"counts has shape \(9,\)"),
        (lambda: slots.add_document(_NINE, _NINE[:4]), r"counts has shape \(4,\)"),
        (lambda: slots.slot_scores(_NINE[:4], _NINE, 1, "tf"), r"counts has shape \(4,\)"),
        (lambda: slots.slot_scores(_NINE, _NINE, 1, "idf"), "mode='idf'; one of 'tf_idf'"),
        (lambda: slots.slot_scores(_NINE, _NINE, 1, "random"), "key=None with mode='random'"),
        (
            lambda: slots.slot_scores(_NINE, _NINE, 1, key=jax.random.key(0)),
            "a key is given with mode='tf_idf'",
        ),
        (lambda: slots.select_read_slots([[1]], [_NINE], 1, 1), "integers of rank 1"),
        (
            lambda: slots.select_read_slots([[1, 2]] * 3, _NINE, 1, 5, mode="read"),
            "top_t=5 with mode='read' may leave out read slots; at least 6",
        ),
        (lambda: slots.slot_scores(_NINE, _NINE, 1, "kl"), "background_total=None with mode='kl'"),
        (
            lambda: slots.slot_scores(_NINE, _NINE, 1, "read", background_total=9),
            "a background_total is given with mode='read'",
        ),
        (
            lambda: slots.slot_scores(_NINE, _NINE + 2, 1, "kl", background_total=9),
            r"document_frequency of shape \(9,\) ranges from 2",
        ),
        (lambda: slots.slot_scores(_NINE - 1, _NINE, 1, "read"), r"counts of shape \(9,\) has -1"),
        (lambda: slots.top_slots(_NINE * 1j, _NINE, 1), r"scores is complex128 of shape \(9,\)"),
        (lambda: slots.top_slots(_NINE, list("abcdefghi"), 1), r"counts is <U1 of shape \(9,\)"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
