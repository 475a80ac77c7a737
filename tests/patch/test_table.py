"""Patches on a table: in any order, and off again without a trace."""

import jax
import jax.numpy as jnp
import numpy as np
import patch_cases
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smem_jax import patch as patches
from smem_jax.errors import InputError
from smem_jax.memory.relevance import NO_GROUP, Relevance
from smem_jax.patch import storage

N, D = patch_cases.NUM_SLOTS, patch_cases.WIDTH


def table(seed: int, dtype: str) -> jax.Array:
    """Random rows, a third of them zero, some zeros with a sign."""
    random = np.random.default_rng(seed)
    values = random.normal(size=(N, D)).astype(np.float32)
    values[random.random(N) < 1 / 3] = 0
    values[random.random((N, D)) < 1 / 8] = -0.0
    return jnp.asarray(values, dtype)


def bits(values: jax.Array) -> bytes:
    return np.asarray(values).tobytes()


slot_sets = st.lists(st.integers(0, N - 1), min_size=1, max_size=20, unique=True)


@settings(max_examples=60, deadline=None)
@given(
    sets=st.lists(slot_sets, min_size=1, max_size=4),
    dtype=st.sampled_from(["float32", "bfloat16"]),
    stored=st.sampled_from(storage.STORAGES),
    seed=st.integers(0, 5),
    random=st.randoms(use_true_random=False),
)
def test_any_order_on_and_off_gives_the_same_bits(sets, dtype, stored, seed, random):
    given_patches = [
        patch_cases.make(slots, name=f"p{n}", seed=n, stored=stored) for n, slots in enumerate(sets)
    ]
    before = bits(table(seed, dtype))
    one, other = (patches.PatchedTable(table(seed, dtype)) for _ in range(2))
    for patch in given_patches:
        one.apply(patch)
    shuffled = random.sample(given_patches, len(given_patches))
    for patch in shuffled:
        other.apply(patch)
    assert bits(one.values) == bits(other.values)
    # With one of them off it is as if that had never come.
    gone = shuffled[0].about.name
    one.revert(gone)
    without = patches.PatchedTable(table(seed, dtype))
    for patch in given_patches:
        if patch.about.name != gone:
            without.apply(patch)
    assert bits(one.values) == bits(without.values)
    for patch in random.sample(given_patches, len(given_patches)):
        other.revert(patch.about.name)
    assert bits(other.values) == before
    assert (np.asarray(other.groups) == NO_GROUP).all()


def test_rows_are_added_and_no_other_row_changes():
    patch = patch_cases.make([5, 3, 60])
    values = table(1, "float32")
    expected = np.asarray(values).copy()
    expected[[5, 3, 60]] += patch_cases.rows_of(patch)
    patched = patches.PatchedTable(values)
    patched.apply(patch)
    assert bits(patched.values) == expected.tobytes()
    assert patched.names == ("p",)


def test_more_rows_than_are_decoded_at_a_time(monkeypatch):
    monkeypatch.setattr(patches.table, "_ROWS_AT_A_TIME", 4)
    patch = patch_cases.make(range(1, 60, 3), stored="low_rank", starts=[0, 7, 11, 20])
    patched = patches.PatchedTable(jnp.zeros((N, D)))
    patched.apply(patch)
    np.testing.assert_array_equal(
        np.asarray(patched.values)[patch.slots], patch_cases.rows_of(patch)
    )
    patched.revert("p")
    assert bits(patched.values) == bits(jnp.zeros((N, D)))


def test_the_sum_of_patches_is_that_of_a_table_of_zeros():
    gate = Relevance(2, 4)
    given_patches = [
        patch_cases.make([9, 1, 5, 7], name="a", seed=1, starts=[0, 2, 4], relevance=gate),
        patch_cases.make([7, 30, 1], name="b", seed=2, relevance=gate, taught=("what b says",)),
        patch_cases.make([2, 9], name="c", seed=3),
    ]
    patched = patches.PatchedTable(jnp.zeros((N, D)))
    for patch in given_patches:
        patched.apply(patch)
    sums = patches.combined(given_patches)
    whole = np.zeros((N, D), np.float32)
    whole[sums.slots] = sums.rows
    np.testing.assert_array_equal(whole, np.asarray(patched.values))
    assert sums.relevance == patched.relevance == gate
    # Rows of one lesson have one group, in both, and those of a patch without a gate have none.
    groups = np.full(N, NO_GROUP)
    groups[sums.slots] = sums.groups
    theirs = np.asarray(patched.groups)
    np.testing.assert_array_equal(groups == NO_GROUP, theirs == NO_GROUP)
    assert len(set(zip(groups, theirs, strict=True))) == len(set(groups)) == len(set(theirs))
    assert sums.lessons[groups[30]] == "what b says"
    assert groups[5] in (NO_GROUP, *range(5)) and sums.lessons[groups[5]] == "a, lesson 1"


def test_what_does_not_go_together_is_refused_and_changes_nothing():
    patched = patches.PatchedTable(table(0, "float32"))
    patched.apply(patch_cases.make([1, 2], relevance=Relevance(2, 4)))
    before = bits(patched.values)
    for patch, message in (
        (patch_cases.make([4]), "two different patches are named 'p'"),
        (patch_cases.make([1, 2], name="q"), "patch 'q' is given twice, also as 'p'"),
        (patch_cases.make([4], name="q", relevance=Relevance(3, 4)), "relevance gate"),
    ):
        with pytest.raises(InputError, match=message):
            patched.apply(patch)
    with pytest.raises(InputError, match=r"is for 64 rows of width 8; the table has 64 of width 4"):
        patches.PatchedTable(jnp.zeros((N, 4))).apply(patch_cases.make([4]))
    with pytest.raises(InputError, match=r"no patch named 'x' is applied; these are: p"):
        patched.revert("x")
    assert bits(patched.values) == before
    with pytest.raises(InputError, match="given twice"):
        patches.combined([patch_cases.make([1]), patch_cases.make([1], name="q")])
