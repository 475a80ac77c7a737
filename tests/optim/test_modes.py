"""The selection modes of the masking transformation, under jit, over seeds and in partitions."""

import functools
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smem_jax.optim import mask_by_top_slots
from smem_jax.slots import Mode

_NUM_SLOTS = 24
_NUM_DOCUMENTS = 6
_MODES = get_args(Mode)


def _expected_rows(mode, counts, frequency, top_t):
    """Which rows may move, in float64; None where chance decides."""
    counts = np.asarray(counts, np.float64)
    share = counts / max(counts.sum(), 1)
    if mode == "random":
        return None
    if mode == "read":
        return np.flatnonzero(counts)
    if mode == "kl":
        background = (1.0 + frequency) / (1.0 + frequency).sum()
        scores = share * np.log(np.maximum(share, 1e-30) / background)
    else:
        scores = share * (
            np.log((_NUM_DOCUMENTS + 1) / (1.0 + frequency)) if mode == "tf_idf" else 1
        )
    # Mathematically equal scores may differ in their last bits in either computation.
    order = np.lexsort((np.arange(len(counts)), -scores.round(9)))
    return np.sort([slot for slot in order if counts[slot] > 0][:top_t]).astype(int)


@functools.partial(jax.jit, static_argnames=("top_t", "mode"))
def _masked(updates, frequency, counts, *, top_t, mode):
    mask = mask_by_top_slots(top_t, {"values": frequency}, _NUM_DOCUMENTS, mode=mode)
    kept, state = mask.update(updates, mask.init(updates), slot_counts={"values": counts})
    return kept["values"], state.selection["values"]


@given(
    seed=st.integers(0, 2**32 - 1),
    top_t=st.sampled_from([1, 5]),
    as_reads=st.booleans(),
    mode=st.sampled_from(_MODES),
)
@settings(deadline=None, max_examples=40)
def test_only_read_rows_are_kept_and_those_that_numpy_chooses(seed, top_t, as_reads, mode):
    rng = np.random.default_rng(seed)
    reads = rng.integers(0, rng.choice([2, 12, _NUM_SLOTS]), (4, 5))
    counts = np.bincount(reads.ravel(), minlength=_NUM_SLOTS)
    frequency = rng.choice([0, 2, _NUM_DOCUMENTS], _NUM_SLOTS)
    updates = {"values": rng.normal(size=(_NUM_SLOTS, 3)).astype(np.float32)}
    kept, selection = _masked(
        updates, frequency, reads if as_reads else counts, top_t=top_t, mode=mode
    )

    rows = np.flatnonzero(np.any(kept, axis=1))
    np.testing.assert_array_equal(selection.slots[selection.is_real], rows)
    assert np.all(counts[rows] > 0)
    num_read = np.count_nonzero(counts)
    assert len(rows) == (num_read if mode == "read" else min(top_t, num_read))
    expected = _expected_rows(mode, counts, frequency, top_t)
    if expected is not None:
        np.testing.assert_array_equal(rows, expected)
    np.testing.assert_array_equal(kept[rows], updates["values"][rows])
    frozen = np.delete(kept, rows, axis=0)
    assert np.all(frozen == 0) and np.all(np.signbit(frozen))


@pytest.mark.parametrize("mode", ["tf_idf", "tf", "kl"])
def test_equal_scores_go_to_the_lower_slot(mode):
    counts, frequency = np.arange(_NUM_SLOTS) % 2, np.full(_NUM_SLOTS, 2)
    updates = {"values": np.ones((_NUM_SLOTS, 1), np.float32)}
    _, selection = _masked(updates, frequency, counts, top_t=5, mode=mode)
    np.testing.assert_array_equal(selection.slots, [1, 3, 5, 7, 9])


@pytest.mark.parametrize("mode", _MODES)
@pytest.mark.parametrize("as_reads", [False, True])
def test_a_batch_of_padding_alone_changes_nothing(mode, as_reads):
    """Counts of zero; slot numbers, where traced, that are out of range."""
    counts = np.full((2, 3), _NUM_SLOTS) if as_reads else np.zeros(_NUM_SLOTS)
    updates = {"values": np.ones((_NUM_SLOTS, 1), np.float32)}
    kept, selection = _masked(updates, np.zeros(_NUM_SLOTS, int), counts, top_t=5, mode=mode)
    assert not np.any(kept) and not np.any(selection.is_real)


def test_kl_and_read_do_what_they_say_in_a_table_of_three():
    """Slot 1 is read most; slot 0 is as rare in the background as slot 2 is common."""
    frequency, counts = {"values": np.array([0, 9, 9])}, {"values": np.array([2, 3, 1])}
    updates = {"values": jnp.ones((3, 1))}
    chosen = {}
    for mode in ("tf", "kl", "read"):
        mask = mask_by_top_slots(1, frequency, 9, mode=mode)
        kept, _ = mask.update(updates, mask.init(updates), slot_counts=counts)
        chosen[mode] = np.flatnonzero(kept["values"]).tolist()
    assert chosen == {"tf": [1], "kl": [0], "read": [0, 1, 2]}


def _train(seed, frequency, updates, counts, mode):
    """Three masked steps from one seed, which may be traced, and the slots of each."""
    mask = mask_by_top_slots(4, {"values": frequency}, _NUM_DOCUMENTS, mode=mode, seed=seed)

    def step(carry, counts):
        params, state = carry
        kept, state = mask.update(updates, state, params, slot_counts={"values": counts})
        return (optax.apply_updates(params, kept), state), state.selection["values"].slots

    zeros = jax.tree.map(jnp.zeros_like, updates)
    (params, _), slots = jax.lax.scan(step, (zeros, mask.init(zeros)), counts)
    return params, slots


@pytest.mark.parametrize("mode", _MODES)
def test_vmap_over_seeds_equals_a_loop(mode):
    rng = np.random.default_rng(0)
    frequency = rng.integers(0, _NUM_DOCUMENTS, _NUM_SLOTS)
    updates = {"values": rng.normal(size=(_NUM_SLOTS, 2)).astype(np.float32)}
    counts = rng.poisson(1.0, (3, 3, _NUM_SLOTS))  # [seeds, steps, num_slots]
    if mode == "random":
        counts[:] = 1
    seeds = np.arange(3, dtype=np.uint32)
    train = functools.partial(_train, mode=mode)
    params, slots = jax.jit(jax.vmap(train, in_axes=(0, None, None, 0)))(
        seeds, frequency, updates, counts
    )
    for seed in range(3):
        one_params, one_slots = jax.jit(train)(seed, frequency, updates, counts[seed])
        np.testing.assert_array_equal(slots[seed], one_slots)
        np.testing.assert_array_equal(params["values"][seed], one_params["values"])
    if mode == "random":
        assert len({array.tobytes() for array in np.asarray(slots).reshape(9, -1)}) == 9


@pytest.mark.parametrize("combine", [optax.partition, optax.multi_transform])
def test_two_masks_with_a_table_each(combine):
    """Each is given the frequencies and counts of both tables, and masks its own."""
    params = {"first": jnp.ones((4, 2)), "second": jnp.ones((6, 3)), "head": jnp.ones(2)}
    frequency = {"first": np.zeros(4, int), "second": np.ones(6, int)}
    counts = {"first": np.array([1, 2, 0, 2]), "second": np.array([1, 0, 0, 0, 0, 2])}
    optimizer = combine(
        {
            "one": mask_by_top_slots(1, frequency, 3, mode="kl"),
            "all": optax.chain(optax.sgd(1.0), mask_by_top_slots(1, frequency, 3, mode="read")),
            "rest": optax.sgd(0.5),
        },
        {"first": "one", "second": "all", "head": "rest"},
    )
    updates, _ = jax.jit(optimizer.update)(
        params, optimizer.init(params), params, slot_counts=counts
    )
    np.testing.assert_array_equal(updates["first"][:, 0], [0, 1, 0, 0])
    np.testing.assert_array_equal(updates["second"][:, 0], [-1, 0, 0, 0, 0, -1])
    np.testing.assert_array_equal(updates["head"], -0.5)


@pytest.mark.parametrize("mode", _MODES)
def test_within_multi_steps_and_donated(mode):
    rng = np.random.default_rng(0)
    params = {"values": jnp.asarray(rng.normal(size=(_NUM_SLOTS, 2)), jnp.float32)}
    before = np.array(params["values"])
    frequency = {"values": rng.integers(0, _NUM_DOCUMENTS, _NUM_SLOTS)}
    mask = mask_by_top_slots(3, frequency, _NUM_DOCUMENTS, mode=mode)
    optimizer = optax.MultiSteps(optax.chain(optax.adamw(0.1), mask), 2)

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(params, state, grads, counts):
        updates, state = optimizer.update(grads, state, params, slot_counts={"values": counts})
        return optax.apply_updates(params, updates), state

    state = optimizer.init(params)
    counts = rng.poisson(0.7, (2, _NUM_SLOTS))
    for part in (counts[0], counts.sum(0)):
        params, state = step(params, state, {"values": jnp.asarray(before)}, part)
    slots = state.inner_opt_state[-1].selection["values"]
    rows = np.asarray(slots.slots[slots.is_real])
    changed = np.flatnonzero(np.any(np.asarray(params["values"]) != before, axis=1))
    np.testing.assert_array_equal(changed, rows)
    assert len(rows) == (np.count_nonzero(counts.sum(0)) if mode == "read" else 3)
