"""Selection with a scratch array against selection by sorting, and what the compiled step makes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smem_jax import scores, scratch, slots
from smem_jax.errors import InputError

_NUM_SLOTS, _NUM_DOCUMENTS = 30, 9


@functools.partial(jax.jit, static_argnames=("top_t", "mode"))
def _both(array, indices, frequency, mask, top_t, mode, limit):
    more = {
        "random": {"key": jax.random.key(3)},
        "kl": {"background_total": scores.background_total(frequency)},
    }
    args = (indices, frequency, _NUM_DOCUMENTS, top_t, mask, mode)
    options = more.get(mode, {}) | {"max_document_frequency": limit}
    by_sort = slots.select_read_slots(*args, **options)
    return by_sort, scratch.select(array, *args, **options)


@given(
    seed=st.integers(0, 2**32 - 1),
    top_t=st.sampled_from([1, 4, 30]),
    mode=st.sampled_from(["tf_idf", "tf", "kl", "random", "read"]),
    share=st.sampled_from([0.0, 0.5, 1.0]),
    limit=st.sampled_from([0, 3, _NUM_DOCUMENTS]),
)
@settings(deadline=None, max_examples=50)
def test_the_slots_are_those_of_sorting(seed, top_t, mode, share, limit):
    rng = np.random.default_rng(seed)
    top_t = _NUM_SLOTS if mode == "read" else top_t
    # Few different counts and frequencies, so that many scores are equal.
    indices = rng.integers(0, rng.choice([1, 7, _NUM_SLOTS]), (4, 3, 5))
    frequency = rng.choice([0, 3, _NUM_DOCUMENTS], _NUM_SLOTS)
    mask = rng.random((4, 3)) < share
    # Whatever it holds.
    array = jnp.asarray(rng.integers(-(2**31), 2**31, _NUM_SLOTS), jnp.int32)
    expected, found = _both(array, indices, frequency, mask, top_t, mode, limit)
    assert (frequency[found.selection.slots[found.selection.is_real]] <= limit).all()
    np.testing.assert_array_equal(found.selection.slots, expected.slots)
    np.testing.assert_array_equal(found.selection.is_real, expected.is_real)
    # Also of reads that the mask leaves out.
    np.testing.assert_array_equal(found.places, slots.places(expected.slots, indices))


def test_slot_numbers_may_be_large():
    num_slots = 2**24 + 9
    indices = jnp.array([[num_slots - 1, 5, num_slots - 1], [num_slots - 2, 5, 2**24]])

    @jax.jit
    def select(indices):
        frequency = jnp.zeros(num_slots, jnp.int32)
        return scratch.select(scratch.new(num_slots), indices, frequency, 1, 3)[:2]

    selection, places = select(indices)
    np.testing.assert_array_equal(selection.slots, [5, 2**24, num_slots - 1])
    np.testing.assert_array_equal(places, [[2, 0, 2], [3, 0, 1]])


def test_a_step_that_donates_the_array_makes_nothing_of_its_size():
    num_slots = 2**22
    arguments = [
        jax.ShapeDtypeStruct(shape, jnp.int32) for shape in ((num_slots,), (64, 8), (num_slots,))
    ]
    select = jax.jit(
        lambda array, indices, frequency: scratch.select(array, indices, frequency, 9, 16),
        donate_argnums=0,
    )
    memory = select.lower(*arguments).compile().memory_analysis()
    assert memory.alias_size_in_bytes >= 4 * num_slots
    assert memory.temp_size_in_bytes < num_slots / 8


@pytest.mark.parametrize("wrong", [jnp.zeros(8), jnp.zeros(7, jnp.int32)])
def test_another_array_is_named(wrong):
    with pytest.raises(InputError, match=r"scratch is .*; int32 \(8,\) is right"):
        scratch.select(wrong, jnp.array([[1]]), jnp.zeros(8, jnp.int32), 1, 2)
