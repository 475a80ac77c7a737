"""Every implementation of the weighted row sum against numpy; gradients against the plain form."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smem_jax.errors import InputError
from smem_jax.kernels.lookup import lookup, lookup_with_delta

_IMPLEMENTATIONS = [None, "base", "xla"]
# (num_slots, value_dim, shape of the reads): one of each, a width of no power of two, a batch.
_SIZES = [(1, 1, (1, 1)), (9, 5, (4, 3)), (40, 8, (2, 3, 7)), (16, 16, (6,))]
_RELATIVE = {jnp.float32: 1e-5, jnp.bfloat16: 2e-2}

_lookup = jax.jit(lookup, static_argnames="implementation")


def _arrays(seed, sizes, dtype):
    """Values, indices with duplicates, and weights."""
    num_slots, value_dim, shape = sizes
    rng = np.random.default_rng(seed)
    values = jnp.asarray(rng.normal(size=(num_slots, value_dim)), dtype)
    indices = rng.integers(0, rng.choice([1, (num_slots + 1) // 2, num_slots]), shape)
    weights = rng.normal(size=shape).astype(np.float32)
    return values, jnp.asarray(indices, jnp.int32), jnp.asarray(weights)


def _by_numpy(values, indices, weights):
    rows = np.asarray(values, np.float64)[np.asarray(indices)]
    return np.einsum("...k,...kd->...d", np.asarray(weights, np.float64), rows)


@given(
    seed=st.integers(0, 2**32 - 1),
    sizes=st.sampled_from(_SIZES),
    dtype=st.sampled_from([jnp.float32, jnp.bfloat16]),
    implementation=st.sampled_from(_IMPLEMENTATIONS),
)
@settings(deadline=None, max_examples=80)
def test_sum_is_that_of_numpy(seed, sizes, dtype, implementation):
    values, indices, weights = _arrays(seed, sizes, dtype)
    summed = _lookup(values, indices, weights, implementation=implementation)
    assert summed.dtype == jnp.float32  # whatever the storage
    np.testing.assert_allclose(summed, _by_numpy(values, indices, weights), rtol=1e-5, atol=1e-5)


@functools.partial(jax.jit, static_argnames="implementation")
def _grads(values, indices, weights, cotangent, implementation):
    _, pullback = jax.vjp(
        lambda values, weights: lookup(values, indices, weights, implementation), values, weights
    )
    return pullback(cotangent)


@given(
    seed=st.integers(0, 2**32 - 1),
    sizes=st.sampled_from(_SIZES),
    dtype=st.sampled_from([jnp.float32, jnp.bfloat16]),
)
@settings(deadline=None, max_examples=60)
def test_gradients_are_those_of_the_plain_form(seed, sizes, dtype):
    values, indices, weights = _arrays(seed, sizes, dtype)
    cotangent = np.random.default_rng(seed).normal(size=(*indices.shape[:-1], sizes[1]))
    cotangent = jnp.asarray(cotangent, jnp.float32)
    fast = _grads(values, indices, weights, cotangent, "xla")
    plain = _grads(values.astype(jnp.float32), indices, weights, cotangent, "base")
    assert fast[0].dtype == dtype
    np.testing.assert_allclose(
        np.asarray(fast[0], np.float32), plain[0], rtol=_RELATIVE[dtype], atol=1e-5
    )
    np.testing.assert_allclose(fast[1], plain[1], rtol=1e-4, atol=1e-5)


def test_gradients_of_a_row_are_summed_over_all_of_its_reads():
    indices, weights = jnp.array([[2, 2], [0, 2]]), jnp.array([[1.0, 2.0], [4.0, 8.0]])
    cotangent = jnp.array([[1.0], [10.0]])
    values_grad, weights_grad = _grads(
        jnp.array([[1.0], [0.0], [3.0]]), indices, weights, cotangent, "xla"
    )
    np.testing.assert_array_equal(values_grad, [[40.0], [0.0], [83.0]])
    np.testing.assert_array_equal(weights_grad, [[3.0, 3.0], [10.0, 30.0]])


def test_weights_of_another_dtype_keep_it_in_their_gradient():
    values, indices, weights = _arrays(0, _SIZES[1], jnp.float32)
    cotangent = jnp.ones((4, 5))
    _, grad = _grads(values, indices, weights.astype(jnp.bfloat16), cotangent, "xla")
    assert grad.dtype == jnp.bfloat16
    expected = np.einsum("td,tkd->tk", cotangent, np.asarray(values)[np.asarray(indices)])
    np.testing.assert_allclose(np.asarray(grad, np.float32), expected, rtol=2e-2, atol=2e-2)


def test_it_maps_over_tables():
    stacks = [_arrays(seed, _SIZES[1], jnp.float32) for seed in range(3)]
    mapped = jax.vmap(lookup)(*(jnp.stack(arrays) for arrays in zip(*stacks, strict=True)))
    for one, arrays in zip(mapped, stacks, strict=True):
        np.testing.assert_allclose(one, _by_numpy(*arrays), rtol=1e-5, atol=1e-5)


def _chosen(rng, num_slots, top_t, num_real):
    slots = np.full(top_t, num_slots, np.int32)
    slots[:num_real] = np.sort(rng.choice(num_slots, num_real, replace=False))
    return jnp.asarray(slots)


@jax.jit
def _delta_grads(values, delta, slots, indices, weights, cotangent):
    summed, pullback = jax.vjp(
        lambda delta, weights: lookup_with_delta(values, delta, slots, indices, weights),
        delta,
        weights,
    )
    return summed, *pullback(cotangent)


@given(seed=st.integers(0, 2**32 - 1), num_real=st.sampled_from([0, 1, 4, 6]))
@settings(deadline=None, max_examples=60)
def test_delta_is_as_if_added_to_the_chosen_rows(seed, num_real):
    values, indices, weights = _arrays(seed, (40, 8, (2, 3, 7)), jnp.float32)
    rng = np.random.default_rng(seed)
    slots = _chosen(rng, 40, 6, num_real)
    if num_real:  # so that some row is read more than once
        indices = indices.at[..., :2].set(slots[0])
    delta = jnp.asarray(rng.normal(size=(6, 8)), jnp.float32)
    cotangent = jnp.asarray(rng.normal(size=(2, 3, 8)), jnp.float32)
    summed, delta_grad, weights_grad = _delta_grads(
        values, delta, slots, indices, weights, cotangent
    )
    added = values.at[slots].add(delta, mode="drop")
    np.testing.assert_allclose(summed, _by_numpy(added, indices, weights), rtol=1e-5, atol=1e-5)
    values_grad, expected = _grads(added, indices, weights, cotangent, "base")
    np.testing.assert_allclose(weights_grad, expected, rtol=1e-4, atol=1e-5)
    expected = values_grad.at[slots].get(mode="fill", fill_value=0)
    np.testing.assert_allclose(delta_grad, expected, rtol=1e-5, atol=1e-5)


def test_delta_of_zeros_changes_no_bit():
    values, indices, weights = _arrays(3, (40, 8, (2, 3, 7)), jnp.float32)
    slots = _chosen(np.random.default_rng(0), 40, 6, 6)
    changed = jax.jit(lookup_with_delta)(values, jnp.zeros((6, 8)), slots, indices, weights)
    np.testing.assert_array_equal(changed, _lookup(values, indices, weights))


def test_the_table_has_no_gradient_beside_a_delta():
    values, indices, weights = _arrays(3, (40, 8, (2, 3, 7)), jnp.float32)
    slots = jnp.arange(6, dtype=jnp.int32)
    grad = jax.grad(
        lambda values: lookup_with_delta(values, jnp.ones((6, 8)), slots, indices, weights).sum()
    )(values)
    np.testing.assert_array_equal(grad, 0)


_TOKENS, _READS, _DIM, _SLOTS, _CHOSEN = 256, 16, 64, 2**16, 32
_ALL_ROWS_BYTES = _TOKENS * _READS * _DIM * 4


def _temporary_bytes(function, *shapes_and_dtypes):
    shapes = [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in shapes_and_dtypes]
    return jax.jit(function).lower(*shapes).compile().memory_analysis().temp_size_in_bytes


def _inputs():
    return (
        ((_SLOTS, _DIM), jnp.float32),
        ((_TOKENS, _READS), jnp.int32),
        ((_TOKENS, _READS), jnp.float32),
    )


def test_rows_of_all_reads_are_never_in_memory_at_once():
    def loss(weights, values, indices):
        return jnp.sum(lookup(values, indices, weights) ** 2)

    values, indices, weights = _inputs()
    assert _temporary_bytes(lookup, values, indices, weights) < _ALL_ROWS_BYTES / 2
    backward = _temporary_bytes(jax.grad(loss), weights, values, indices)
    assert backward < _ALL_ROWS_BYTES / 2
    # The plain form does, so the measure sees it.
    plain = _temporary_bytes(
        functools.partial(lookup, implementation="base"), values, indices, weights
    )
    assert plain >= _ALL_ROWS_BYTES


def test_training_chosen_rows_makes_nothing_of_the_size_of_the_table():
    def loss(delta, slots, values, indices, weights):
        return jnp.sum(lookup_with_delta(values, delta, slots, indices, weights) ** 2)

    taken = _temporary_bytes(
        jax.grad(loss),
        ((_CHOSEN, _DIM), jnp.float32),
        ((_CHOSEN,), jnp.int32),
        *_inputs(),
    )
    assert taken < _ALL_ROWS_BYTES / 2 < _SLOTS * _DIM * 4 / 16


_VALUES, _INDICES, _WEIGHTS = jnp.ones((4, 2)), jnp.array([[1, 3]]), jnp.ones((1, 2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lookup(jnp.ones(4), _INDICES, _WEIGHTS), r"values is float32 of shape \(4,\)"),
        (lambda: lookup(jnp.ones((4, 2), int), _INDICES, _WEIGHTS), "values is int32"),
        (lambda: lookup(_VALUES, _INDICES + 1, _WEIGHTS), r"indices .* 2 to 4; 0 to 3 is right"),
        (lambda: lookup(_VALUES, _INDICES - 2, _WEIGHTS), "ranges from -1 to 1"),
        (lambda: lookup(_VALUES, _WEIGHTS, _WEIGHTS), "indices is float32"),
        (lambda: lookup(_VALUES, jnp.zeros((0, 2), int), jnp.ones((0, 2))), "at least one entry"),
        (lambda: lookup(_VALUES, _INDICES, jnp.ones(2)), r"weights has shape \(2,\), indices"),
        (lambda: lookup(_VALUES, jnp.array(1), jnp.array(1.0)), r"both \[\.\.\., k\]"),
        (lambda: lookup(_VALUES, _INDICES, _WEIGHTS, "cuda"), "implementation='cuda'; one of"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
