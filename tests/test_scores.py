"""Scores of slots against numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from smem_jax import scores
from smem_jax.errors import InputError


def test_tf_idf_is_that_of_the_paper():
    counts, frequency = np.array([4, 0, 3, 3]), np.array([0, 5, 2, 9])
    expected = counts / 10 * np.log((9 + 1) / (1 + frequency))
    np.testing.assert_allclose(scores.tf_idf(counts, frequency, 9), expected, rtol=1e-6)


_frequencies = npst.arrays(
    np.int32, st.sampled_from([1, 7, 40]), elements=st.integers(0, 2**31 - 2)
)


@given(frequency=_frequencies)
@settings(deadline=None, max_examples=50)
def test_background_total_is_exact_beyond_32_bits(frequency):
    exact = len(frequency) + frequency.sum(dtype=np.int64)
    np.testing.assert_allclose(scores.background_total(frequency), exact, rtol=3e-7)
    assert scores.background_total(frequency) == scores.background_total(frequency[::-1])


@given(frequency=_frequencies, seed=st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=50)
def test_kl_shares_sum_to_the_divergence(frequency, seed):
    rng = np.random.default_rng(seed)
    counts = rng.poisson(2.0, len(frequency))
    share = scores.kl_share(counts, frequency, scores.background_total(frequency))

    batch = counts / max(counts.sum(), 1)
    background = (1.0 + frequency) / (1.0 + frequency).sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = np.where(counts > 0, batch * np.log(batch / background), 0)
    np.testing.assert_allclose(share, expected, rtol=1e-5, atol=1e-6)
    assert np.sum(share) >= -1e-5  # Gibbs' inequality
    assert share.dtype == jnp.float32


def test_kl_prefers_what_the_background_reads_less():
    """Both read half of the batch; the background reads the first almost never."""
    frequency = np.array([0, 8, 9, 9])
    share = scores.kl_share([5, 5, 0, 0], frequency, scores.background_total(frequency))
    assert share[0] > share[1] > share[2] == 0


def test_random_scores_belong_to_the_slot():
    key = jax.random.key(0)
    whole = scores.random_scores(np.arange(50), key)
    np.testing.assert_array_equal(scores.random_scores([7, 3], key), whole[np.array([7, 3])])
    assert len(np.unique(whole)) == 50
    assert whole.min() >= 0
    assert whole.max() < 1
    assert not np.array_equal(whole, scores.random_scores(np.arange(50), jax.random.key(1)))


_NINE = np.zeros(9, int)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: scores.tf_idf(_NINE - 1, _NINE, 1), r"counts of shape \(9,\) has -1"),
        (lambda: scores.tf_idf(_NINE + np.nan, _NINE, 1), "counts .* NaN"),
        (lambda: scores.idf(_NINE - 1, 4), r"document_frequency of shape \(9,\) ranges from -1"),
        (lambda: scores.idf(_NINE + 5, 4), "0 to num_documents=4 is right"),
        (lambda: scores.idf(_NINE * 0.5, 4), "document_frequency is float64 of shape"),
        (lambda: scores.idf(_NINE, 0), "num_documents=0; at least 1"),
        (lambda: scores.kl_share(_NINE, _NINE, _NINE), r"background_total has shape \(9,\)"),
        (lambda: scores.kl_share(_NINE, _NINE, 0.0), "background_total=0.0; a number above 0"),
        (lambda: scores.kl_share(_NINE, _NINE, np.nan), "background_total=nan"),
        (lambda: scores.kl_share(_NINE, _NINE * 0.5, 9), r"document_frequency is float64 of"),
        (lambda: scores.background_total([_NINE]), r"of shape \(1, 9\); integers of rank 1"),
        (lambda: scores.term_frequency(_NINE * 1j), r"counts is complex128 of shape \(9,\)"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


def test_narrow_dtypes_do_not_overflow():
    counts = np.array([60_000, 30_000], np.float16)
    np.testing.assert_allclose(scores.term_frequency(counts), [2 / 3, 1 / 3], rtol=1e-3)
    frequency = np.array([255, 3], np.uint8)
    narrow = scores.kl_share(np.ones(2), frequency, 300.0)
    np.testing.assert_allclose(narrow, scores.kl_share(np.ones(2), frequency.astype(int), 300.0))
