"""One patch of several."""

import dataclasses

import numpy as np
import patch_cases
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smem_jax import patch as patches
from smem_jax.errors import InputError
from smem_jax.memory.relevance import Relevance

N = patch_cases.NUM_SLOTS


def as_table(patch: patches.Patch) -> dict[int, np.ndarray]:
    return dict(zip(patch.slots.tolist(), patch_cases.rows_of(patch), strict=True))


def lesson_of(patch: patches.Patch) -> dict[int, int]:
    return dict(zip(patch.slots.tolist(), patch.lesson_of_rows().tolist(), strict=True))


def three() -> list[patches.Patch]:
    return [
        patch_cases.make([9, 1, 5, 7], name="a", seed=1, starts=[0, 2, 4], taught=("a0", "a1")),
        patch_cases.make([7, 30, 1], name="b", seed=2, taught=("b0",)),
        patch_cases.make([7, 2], name="c", seed=3, starts=[0, 1, 2], taught=("c0", "c1")),
    ]


def test_each_rule_settles_the_slots_that_two_claim():
    given_patches = three()
    tables = [as_table(patch) for patch in given_patches]
    first = tables[2] | tables[1] | tables[0]
    last = tables[0] | tables[1] | tables[2]
    sums = {slot: sum(t[slot] for t in tables if slot in t) for slot in first}
    for rule, expected in (("first", first), ("last", last), ("sum", sums)):
        merged = patches.merge(given_patches, rule, name="m")
        found = as_table(merged.patch)
        assert found.keys() == expected.keys()
        for slot, row in expected.items():
            np.testing.assert_allclose(found[slot], row, rtol=1e-6, atol=1e-6)
        assert merged.contested.tolist() == [1, 7]
    # Lessons keep their numbers, also one that has lost its only row.
    merged = patches.merge(given_patches, "first", name="m").patch
    assert merged.lessons() == ["a0", "a1", "b0", "c0", "c1"]
    assert lesson_of(merged) == {9: 0, 1: 0, 5: 1, 7: 1, 30: 2, 2: 4}
    assert lesson_of(patches.merge(given_patches, "last", name="m").patch)[7] == 3
    assert merged.about.settings == {"merged": ["a", "b", "c"], "rule": "first"}


def test_moved_claims_keep_their_rows_and_one_of_their_sub_keys():
    given_patches = three()
    merged = patches.merge(given_patches, "move", name="m").patch
    assert len(merged.slots) == sum(len(patch.slots) for patch in given_patches)
    table, lessons = as_table(merged), lesson_of(merged)
    for slot, row in as_table(given_patches[0]).items():
        np.testing.assert_array_equal(table[slot], row)
    moved = as_table(given_patches[2])[7]
    [place] = [slot for slot, row in table.items() if np.array_equal(row, moved)]
    assert place != 7 and lessons[place] == 3
    side = 8  # sub-keys of a half
    assert place // side == 7 // side or place % side == 7 % side
    # No free slot that shares one of the sub-keys has another one that is as like.
    keys = patch_cases.LAYOUT.sub_keys
    keys = keys / np.linalg.norm(keys, axis=-1, keepdims=True)
    alike = np.einsum("hsid,hsjd->sij", keys, keys)

    def likeness(slot: int) -> float:
        if slot // side == 7 // side:
            return alike[1, 7 % side, slot % side]
        return alike[0, 7 // side, slot // side]

    others = [s for s in range(N) if s // side == 7 // side or s % side == 7 % side]
    taken = set(table) - {place}
    assert likeness(place) == max(likeness(s) for s in others if s not in taken)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, N - 1), min_size=2, max_size=30, unique=True),
    st.sampled_from(["first", "last", "sum", "move"]),
)
def test_where_slots_are_apart_every_rule_gives_the_sum(slots, rule):
    half = len(slots) // 2
    pair = [
        patch_cases.make(slots[:half], name="a", seed=1),
        patch_cases.make(slots[half:], name="b", seed=2),
    ]
    merged = patches.merge(pair, rule, name="m")
    sums = patches.combined(pair)
    whole = dict(zip(sums.slots.tolist(), sums.rows, strict=True))
    found = as_table(merged.patch)
    assert found.keys() == whole.keys() and not merged.contested.size
    for slot, row in whole.items():
        np.testing.assert_array_equal(found[slot], row)


def test_patches_that_do_not_go_together_are_refused():
    a = patch_cases.make([1], name="a")
    with pytest.raises(InputError, match="for the base model cccccccccccc"):
        patches.merge([a, patch_cases.make([2], name="b", base="c" * 64)], name="m")
    with pytest.raises(InputError, match="with a relevance gate and without one"):
        patches.merge([a, patch_cases.make([2], relevance=Relevance(2, 2))], name="m")
    gated = [patch_cases.make([n], name=f"g{n}", relevance=Relevance(2, n)) for n in (2, 3)]
    with pytest.raises(InputError, match="has the relevance gate"):
        patches.merge(gated, name="m")
    about = dataclasses.replace(a.about, name="b", memory={"block": 1, "num_slots": N})
    with pytest.raises(InputError, match=r"'b' is for the memory layer .'block': 1"):
        patches.merge([a, dataclasses.replace(patch_cases.make([2]), about=about)], name="m")
    with pytest.raises(InputError, match="rule='best' must be one of first, last, sum, move"):
        patches.merge([a, patch_cases.make([2])], "best", name="m")
    with pytest.raises(InputError, match="1 patch is given; a merge needs two"):
        patches.merge([a], name="m")
    full = patch_cases.make(range(N), name="full")
    with pytest.raises(InputError, match="no slot near slot 1 is free"):
        patches.merge([full, a], "move", name="m")
    bare = [
        patches.restored(patch, layout=False) for patch in (a, patch_cases.make([1, 2], name="b"))
    ]
    with pytest.raises(InputError, match="is given; saved without them: a, b"):
        patches.merge(bare, "move", name="m")


def test_a_difference_says_what_is_shared_and_how_alike_it_is():
    a = patch_cases.make([1, 2, 3], name="a", seed=1, taught=("x", "y"))
    b = patch_cases.make([2, 3, 4, 5], name="b", seed=2, taught=("y", "z"))
    found = patches.diff(a, b)
    assert (found["slots_only_a"], found["slots_only_b"], found["slots_shared"]) == (1, 2, 2)
    assert (found["taught_only_a"], found["taught_both"], found["taught_only_b"]) == (
        ["x"],
        ["y"],
        ["z"],
    )
    rows_a, rows_b = patch_cases.rows_of(a)[1:], patch_cases.rows_of(b)[:2]
    cosines = (
        (rows_a * rows_b).sum(1) / np.linalg.norm(rows_a, axis=1) / np.linalg.norm(rows_b, axis=1)
    )
    assert found["cosine"] == pytest.approx(cosines.mean(), rel=1e-5)
    assert found["largest_difference"] == pytest.approx(np.abs(rows_a - rows_b).max())
    assert found["same_base"] and found["same_layout"]
    assert patches.diff(a, a)["cosine"] == pytest.approx(1)
