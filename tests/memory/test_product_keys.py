"""Product-key search against brute force over all slots."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smem_jax.errors import InputError
from smem_jax.memory import product_keys

_search = jax.jit(product_keys.search, static_argnames="top_k")


def _all_scores(queries, sub_keys):
    """Scores of every slot in float64, [..., num_heads, n * n]."""
    queries, sub_keys = np.asarray(queries, np.float64), np.asarray(sub_keys, np.float64)
    first, second = np.split(queries, 2, axis=-1)
    first = np.einsum("...hc,hnc->...hn", first, sub_keys[:, 0])
    second = np.einsum("...hc,hnc->...hn", second, sub_keys[:, 1])
    return (first[..., :, None] + second[..., None, :]).reshape(*first.shape[:-1], -1)


def _arrays(rng, n, half_dim, batch, integral):
    shapes = (*batch, 2, 2 * half_dim), (2, 2, n, half_dim)
    if integral:
        # Sums of small whole numbers are exact, so that equal scores are equal in float32.
        return tuple(rng.integers(-2, 3, shape).astype(np.float32) for shape in shapes)
    return tuple(rng.normal(size=shape).astype(np.float32) for shape in shapes)


# (n, top_k): a single slot, all sub-keys, odd ones, one read, and a usual pair.
_SIZES = [(1, 1), (2, 2), (3, 2), (5, 5), (8, 1), (16, 8), (16, 16)]


@given(seed=st.integers(0, 2**32 - 1), sizes=st.sampled_from(_SIZES), integral=st.booleans())
@settings(deadline=None, max_examples=120)
def test_search_is_exact(seed, sizes, integral):
    n, top_k = sizes
    queries, sub_keys = _arrays(np.random.default_rng(seed), n, 4, (3,), integral)
    scores, slots = _search(queries, sub_keys, top_k=top_k)
    every = _all_scores(queries, sub_keys)
    best = np.argsort(-every, axis=-1, kind="stable")[..., :top_k]  # ties to the lower slot
    np.testing.assert_array_equal(slots, best)
    expected = np.take_along_axis(every, best, axis=-1)
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-5)


def test_all_scores_equal_returns_the_first_slots():
    scores, slots = _search(np.zeros((2, 2, 6)), np.ones((2, 2, 4, 3)), top_k=4)
    np.testing.assert_array_equal(slots, np.broadcast_to(np.arange(4), (2, 2, 4)))
    np.testing.assert_array_equal(scores, 0)


def test_zeros_of_both_signs_are_equal():
    # Sums: slot 0 is 0.0, slot 1 is -0.0 + 0.0, slots 2 and 3 have -0.0 in their first half.
    queries = np.ones((1, 1, 2), np.float32)
    sub_keys = np.array([[[[0.0], [-0.0]], [[0.0], [-0.0]]]], np.float32)
    for signs in (1.0, -1.0):
        _, slots = _search(queries, signs * sub_keys, top_k=2)
        np.testing.assert_array_equal(slots, [[[0, 1]]])


@pytest.mark.parametrize("batch", [(), (1,), (2, 3)])
def test_shapes_and_dtypes(batch):
    queries, sub_keys = _arrays(np.random.default_rng(0), 6, 2, batch, integral=False)
    scores, slots = product_keys.search(jnp.asarray(queries), jnp.asarray(sub_keys), 3)
    assert scores.shape == slots.shape == (*batch, 2, 3)
    assert scores.dtype == jnp.float32
    assert slots.dtype == jnp.int32
    low, _ = product_keys.search(jnp.asarray(queries, jnp.bfloat16), jnp.asarray(sub_keys), 3)
    assert low.dtype == jnp.float32


def test_gradient_is_that_of_the_chosen_scores():
    queries, sub_keys = _arrays(np.random.default_rng(1), 6, 2, (3,), integral=False)
    slots = np.asarray(product_keys.search(queries, sub_keys, 4)[1])

    def chosen(queries, sub_keys):
        first, second = jnp.split(queries, 2, axis=-1)
        head = np.arange(2)[:, None]
        return jnp.einsum("thc,thkc->", first, sub_keys[head, 0, slots // 6]) + jnp.einsum(
            "thc,thkc->", second, sub_keys[head, 1, slots % 6]
        )

    searched = jax.grad(lambda *pair: product_keys.search(*pair, 4)[0].sum(), argnums=(0, 1))
    expected = jax.grad(chosen, argnums=(0, 1))(queries, sub_keys)
    for grad, wanted in zip(searched(queries, sub_keys), expected, strict=True):
        np.testing.assert_allclose(grad, wanted, rtol=1e-5, atol=1e-6)


def _bad(queries=(3, 2, 8), sub_keys=(2, 2, 5, 4), top_k=2):
    return functools.partial(product_keys.search, jnp.zeros(queries), jnp.zeros(sub_keys), top_k)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (_bad(top_k=6), "top_k=6 must be from 1 to the 5"),
        (_bad(top_k=0), "top_k=0"),
        (
            lambda: product_keys.search(jnp.full((1, 2, 4), jnp.nan), jnp.zeros((2, 2, 5, 2)), 2),
            r"queries of shape \(1, 2, 4\) has NaN",
        ),
        (
            lambda: product_keys.search(jnp.zeros((1, 2, 4)), jnp.full((2, 2, 5, 2), jnp.nan), 2),
            r"sub_keys of shape \(2, 2, 5, 2\) has NaN",
        ),
        (_bad(sub_keys=(2, 3, 5, 4)), r"sub_keys has shape \(2, 3, 5, 4\)"),
        (_bad(sub_keys=(2, 5, 4)), r"sub_keys has shape \(2, 5, 4\)"),
        (_bad(queries=(3, 2, 6)), r"queries has shape \(3, 2, 6\); \[\.\.\., 2, 8\]"),
        (_bad(queries=(8,)), r"queries has shape \(8,\)"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
