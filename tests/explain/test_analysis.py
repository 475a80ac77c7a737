"""Shares, core sets and overlaps against what loops over Python sets give."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smem_jax.errors import InputError
from smem_jax.explain import analysis

_SLOTS = 40


def _reads(seed: int, rows: int = 4, seq: int = 6, reads: int = 5):
    random = np.random.default_rng(seed)
    indices = random.integers(0, _SLOTS, (rows, seq, reads)).astype(np.int32)
    weights = random.random((rows, seq, reads)).astype(np.float32)
    return indices, weights, np.arange(seq) < random.integers(1, seq + 1, rows)[:, None]


_sets = st.lists(st.sets(st.integers(0, _SLOTS - 1), max_size=12), min_size=1, max_size=6)


def test_token_share_is_what_a_loop_over_tokens_finds():
    indices, weights, mask = _reads(0)
    chosen = np.asarray([3, 7, 8, 21, 30], np.int32)
    found = analysis.token_share(indices, weights, mask, chosen)
    assert found.weight.dtype == np.float32 and found.reads.dtype == np.int32
    assert found.reads.sum() > 0
    for row, place in np.ndindex(mask.shape):
        hits = [slot in chosen for slot in indices[row, place]]
        expected = weights[row, place][hits].sum() / weights[row, place].sum()
        np.testing.assert_allclose(found.weight[row, place], expected * mask[row, place], rtol=1e-5)
        assert found.reads[row, place] == sum(hits) * mask[row, place]


def test_a_token_all_of_whose_reads_are_chosen_has_share_one_and_none_has_zero():
    indices, weights, mask = _reads(1)
    everything = analysis.token_share(indices, weights, mask, np.arange(_SLOTS))
    np.testing.assert_allclose(everything.weight, mask, rtol=1e-6)
    nothing = analysis.token_share(indices, weights, mask, np.zeros(0, np.int32))
    assert not nothing.weight.any() and not nothing.reads.any()


@pytest.mark.parametrize("at_least", [0.25, 0.5, 0.51, 1.0])
def test_the_core_set_is_the_intersection_and_its_relaxation(at_least):
    indices, _, mask = _reads(2, reads=20)
    per_row = [set(row[is_token].ravel()) for row, is_token in zip(indices, mask, strict=True)]
    expected = [
        slot for slot in range(_SLOTS) if sum(slot in r for r in per_row) >= at_least * len(per_row)
    ]
    found = analysis.readers(indices, mask)
    assert analysis.core_set(found, at_least).tolist() == expected
    if at_least == 1:
        assert expected == sorted(set.intersection(*per_row))
        assert expected


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), rows=st.integers(1, 12))
def test_the_core_set_shrinks_as_more_rows_are_asked_for(seed, rows):
    found = analysis.readers(*_reads(seed, rows)[::2])
    shares = [share / 20 for share in range(1, 21)]
    for low, high in itertools.pairwise(shares):
        assert set(analysis.core_set(found, high)) <= set(analysis.core_set(found, low))
    sizes = analysis.core_sizes(found, shares)
    assert sizes.tolist() == [len(analysis.core_set(found, share)) for share in shares]
    assert len(analysis.core_set(found, 1e-9)) == len(found.slots)


def test_three_tenths_of_ten_rows_are_three():
    found = analysis.Readers(np.arange(3, dtype=np.int32), np.asarray([2, 3, 4], np.int32), 10)
    assert analysis.core_set(found, 0.1 + 0.2).tolist() == [1, 2]


@settings(max_examples=60, deadline=None)
@given(_sets)
def test_overlap_is_symmetric_one_on_the_diagonal_and_the_jaccard_index(sets):
    found = analysis.overlap([np.asarray(sorted(slots), np.int32) for slots in sets])
    np.testing.assert_array_equal(found, found.T)
    np.testing.assert_array_equal(np.diag(found), 1)
    for (i, first), (j, second) in itertools.combinations(enumerate(sets), 2):
        union = first | second
        assert found[i, j] == (len(first & second) / len(union) if union else 0)


@pytest.mark.parametrize(("first", "second"), [(3, 5), (5, 3), (7, 7), (0, 4), (10, 9), (10, 10)])
def test_the_expected_overlap_is_the_mean_over_all_sets(first, second):
    fixed = set(range(first))
    overlaps = [
        len(fixed & set(other)) / len(fixed | set(other))
        for other in itertools.combinations(range(10), second)
    ]
    expected = sum(overlaps) / math.comb(10, second)
    assert analysis.expected_overlap(first, second, 10) == pytest.approx(expected, rel=1e-9)


def test_the_expected_overlap_of_a_large_table_is_that_of_drawn_sets():
    random = np.random.default_rng(0)
    drawn = analysis.overlap([random.choice(2**16, 4000, replace=False) for _ in range(12)])
    mean = drawn[np.triu_indices(12, 1)].mean()
    assert analysis.expected_overlap(4000, 4000, 2**16) == pytest.approx(mean, rel=0.02)
    assert analysis.expected_overlap(0, 0, 2**16) == 0


def test_snippets_are_the_windows_best_stretches_in_falling_order():
    random = np.random.default_rng(3)
    indices = random.integers(0, _SLOTS, (9, 12, 4)).astype(np.int32)
    indices[5] = _SLOTS - 1
    chosen = np.asarray([1, 2, 3])
    mask = np.arange(12) < random.integers(1, 13, 9)[:, None]
    reads = analysis.background_reads(indices, mask, chosen)
    counted = (indices[..., None] == chosen).any(-1).sum(-1)
    np.testing.assert_array_equal(reads, np.where(mask, counted, 0))
    found = analysis.background_readers(reads, 4, 20)
    most = {w: max(int(reads[w, s : s + 4].sum()) for s in range(9)) for w in range(9)}
    assert {s.window: s.reads for s in found} == {w: n for w, n in most.items() if n}
    assert 5 not in {s.window for s in found}
    assert [s.reads for s in found] == sorted((s.reads for s in found), reverse=True)
    for snippet in found:
        assert snippet.stop - snippet.start == 4
        assert reads[snippet.window, snippet.start : snippet.stop].sum() == snippet.reads
    assert analysis.background_readers(reads, 4, 2) == found[:2]
    assert {s.stop for s in analysis.background_readers(reads, 99, 2)} == {12}


def test_role_shares_add_up_and_a_role_without_tokens_has_no_weight():
    indices, weights, mask = _reads(4)
    found = analysis.token_share(indices, weights, mask, np.arange(10))
    roles = np.broadcast_to(np.arange(6) % 2, mask.shape)
    even, odd, none = analysis.role_shares(found, roles, mask, 3)
    assert even.tokens + odd.tokens == pytest.approx(1)
    assert even.chosen_reads + odd.chosen_reads == pytest.approx(1)
    is_even = mask & (roles == 0)
    assert even.tokens == is_even.sum() / mask.sum()
    assert even.chosen_reads == found.reads[is_even].sum() / found.reads.sum()
    assert even.weight == pytest.approx(found.weight[is_even].mean())
    assert none.tokens == none.chosen_reads == 0 and np.isnan(none.weight)


def test_shapes_and_values_that_make_no_sense_are_refused():
    indices, weights, mask = _reads(5)
    with pytest.raises(InputError, match="weights has shape"):
        analysis.token_share(indices, weights[..., :1], mask, np.arange(3))
    with pytest.raises(InputError, match="mask of shape"):
        analysis.readers(indices, mask[:, 1:])
    with pytest.raises(InputError, match=r"at_least=0 must be above 0 and at most 1"):
        analysis.core_set(analysis.readers(indices, mask), 0)
    with pytest.raises(InputError, match=r"a set of 11 slots must be of 0 to num_slots=10"):
        analysis.expected_overlap(3, 11, 10)
