"""The smallest and largest numbers and sizes through search, lookup, selection and update."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from smem_jax import slots
from smem_jax.kernels.lookup import lookup, lookup_with_delta
from smem_jax.memory.product_keys import search
from smem_jax.optim import row_adam, row_sgd

_LARGEST, _SUBNORMAL = float(np.finfo(np.float32).max), 1e-40
_DTYPES = [jnp.float32, jnp.bfloat16]


@pytest.mark.parametrize(("n", "top_k"), [(1, 1), (2, 1), (2, 2), (4, 4)])
def test_the_smallest_tables_are_searched_exactly(n, top_k):
    rng = np.random.default_rng(n + top_k)
    queries = rng.normal(size=(5, 3, 4)).astype(np.float32)
    keys = rng.normal(size=(3, 2, n, 2)).astype(np.float32)
    scores, found = jax.jit(search, static_argnums=2)(queries, keys, top_k)
    halves = np.einsum("thpc,hpnc->thpn", queries.reshape(5, 3, 2, 2), keys)
    every = (halves[:, :, 0, :, None] + halves[:, :, 1, None, :]).reshape(5, 3, n * n)
    np.testing.assert_array_equal(found, np.argsort(-every, axis=-1)[..., :top_k])
    best = -np.sort(-every, axis=-1)[..., :top_k]
    np.testing.assert_allclose(scores, best, rtol=1e-5, atol=1e-6)


def test_the_last_slots_of_the_largest_table_are_found():
    n = 2**13
    keys = np.zeros((1, 2, n, 1), np.float32)
    keys[..., -1, 0], keys[0, 0, 7, 0] = 2, 1
    scores, found = jax.jit(search, static_argnums=2)(np.ones((1, 1, 2), np.float32), keys, 2)
    assert found.ravel().tolist() == [n * n - 1, 7 * n + n - 1] and n * n == 2**26
    assert scores.ravel().tolist() == [4, 3]
    counts = jax.eval_shape(lambda i: slots.access_counts(i, n * n), found)
    assert counts.shape == (n * n,)
    frequency = jax.ShapeDtypeStruct((n * n,), jnp.int32)
    shape = jax.eval_shape(lambda f: slots.select_read_slots(found, f, 9, 5), frequency).slots.shape
    assert shape == (5,)


@pytest.mark.parametrize("dtype", _DTYPES)
@pytest.mark.parametrize("size", [0.0, _SUBNORMAL, 1e-20, 1e18, 3e38, np.inf])
def test_whatever_is_asked_the_slots_found_are_distinct_slots_of_the_table(size, dtype):
    rng = np.random.default_rng(0)
    queries = jnp.asarray(rng.choice([-1, 1], size=(50, 2, 8)) * size, dtype)
    keys = jnp.asarray(rng.normal(size=(2, 2, 8, 4)) * max(size, 1), dtype)
    _, found = jax.jit(search, static_argnums=2)(queries, keys, 8)
    assert found.min() >= 0 and found.max() < 64
    assert all(len(set(row)) == 8 for row in np.asarray(found).reshape(-1, 8).tolist())


@pytest.mark.parametrize("dtype", _DTYPES)
def test_sums_of_the_largest_and_the_smallest_rows_are_those_of_numpy(dtype):
    values = jnp.asarray([[_LARGEST / 16] * 3, [1.0, -1.0, 0.0], [_SUBNORMAL] * 3], dtype)
    indices = np.array([[0, 0], [0, 1], [1, 2], [2, 2]], np.int32)
    weights = np.array([[0.5, 0.5], [1, _SUBNORMAL], [1e-30, 1e30], [1, 1]], np.float32)
    rows = np.asarray(values, np.float64)
    expected = np.einsum("tk,tkd->td", weights.astype(np.float64), rows[indices])
    # Subnormal numbers may be taken for 0, which matters only times 1e30.
    np.testing.assert_allclose(lookup(values, indices, weights), expected, rtol=1e-2, atol=2e-10)
    delta = jnp.zeros((1, 3), jnp.float32)
    places = np.where(indices == 1, 0, 1)
    summed, gradient = jax.value_and_grad(
        lambda delta: lookup_with_delta(values, delta, places, indices, weights).sum()
    )(delta)
    assert np.isfinite(summed) and np.isfinite(gradient).all()


def test_a_slot_that_every_token_reads_is_counted_and_moved_once():
    tokens, width = 100_000, 2
    indices = jnp.zeros((tokens, 1), jnp.int32)
    found = slots.select_read_slots(indices, jnp.zeros(4, jnp.int32), 1, 3)
    assert found.slots.tolist() == [0, 4, 4] and found.is_real.tolist() == [True, False, False]
    assert slots.access_counts(indices, 4).tolist() == [tokens, 0, 0, 0]
    places = slots.places(found.slots, indices)
    values, weights = jnp.zeros((4, width)), jnp.ones((tokens, 1))

    def total(delta):
        return lookup_with_delta(values, delta, places, indices, weights).sum()

    gradient = jax.grad(total)(jnp.zeros((3, width)))
    np.testing.assert_allclose(gradient, [[tokens] * width, [0] * width, [0] * width], rtol=1e-5)


@pytest.mark.parametrize("mode", ["tf_idf", "tf", "read"])
def test_padding_alone_and_more_room_than_reads_select_what_was_read(mode):
    indices = jnp.asarray([[[3], [1]]], jnp.int32)
    frequency = jnp.asarray([0, 9, 0, 9], jnp.int32)
    for mask, expected in ((False, []), (True, [1, 3])):
        tokens = jnp.full((1, 2), mask)
        found = slots.select_read_slots(indices, frequency, 9, 4, mask=tokens, mode=mode)
        assert found.slots[found.is_real].tolist() == expected


@pytest.mark.parametrize("dtype", _DTYPES)
@pytest.mark.parametrize("optimizer", [row_sgd(0.9), row_adam()], ids=["sgd", "adam"])
@pytest.mark.parametrize("size", [_SUBNORMAL, 1e-25, 1e18, 1e38])
def test_an_update_by_any_finite_gradient_leaves_finite_rows(optimizer, dtype, size):
    values = jnp.ones((4, 2), dtype)
    state = optimizer.init(values)
    chosen = jnp.asarray([1, 3], jnp.int32)
    for _ in range(3):
        gradient = jnp.full((2, 2), size, jnp.float32)
        values, state = optimizer.update(values, state, chosen, gradient, 0.1)
    assert np.isfinite(np.asarray(values, np.float32)).all()
    assert (np.asarray(values[jnp.asarray([0, 2])], np.float32) == 1).all()
