"""The lookup as callers see it: sums and gradients against numpy, memory, choice of a backend."""

import functools
import logging

import jax
import jax.numpy as jnp
import lookup_cases
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smem_jax import bits, slots
from smem_jax.errors import InputError
from smem_jax.kernels.lookup import backends, base, lookup, lookup_with_delta, xla

# Beside the shared sizes, some that are more than the iterations of 'xla' take at a time.
_SIZES = (*lookup_cases.SIZES, (30, 300, 530, 20), (5, 1000, 3, 2))
_OPERATIONS = ("weighted_sum", "weights_gradient", "rows_gradient")


@functools.partial(jax.jit, static_argnames=("module", "num_rows"))
def _run(module, values, indices, weights, cotangent, places, num_rows):
    return (
        module.weighted_sum(values, indices, weights),
        module.weights_gradient(values, indices, cotangent),
        module.rows_gradient(places, weights, cotangent, num_rows),
    )


@pytest.mark.parametrize("module", [base, xla])
@given(case=lookup_cases.cases(_SIZES))
@settings(deadline=None, max_examples=30)
def test_operations_are_those_of_numpy(module, case):
    values, indices, weights, cotangent = lookup_cases.arrays(*case)
    places, num_rows = lookup_cases.places(case[0], indices, values.shape[0])
    # A fixed number of rows, so that few shapes are compiled; those beyond num_rows get nothing.
    places = jnp.where(places == num_rows, values.shape[0], places)
    results = _run(module, values, indices, weights, cotangent, places, values.shape[0])
    expected = (
        lookup_cases.weighted_sum(values, indices, weights),
        lookup_cases.weights_gradient(values, indices, cotangent),
        lookup_cases.rows_gradient(places, weights, cotangent, values.shape[0]),
    )
    for name, result, wanted in zip(_OPERATIONS, results, expected, strict=True):
        assert result.dtype == jnp.float32  # whatever the storage
        np.testing.assert_allclose(result, wanted, rtol=1e-4, atol=5e-4, err_msg=name)


def test_rows_sorted_into_segments_get_what_they_get_one_by_one():
    # How platforms other than the CPU sum, run on the CPU.
    rng = np.random.default_rng(0)
    total = jnp.asarray(rng.normal(size=(9, 5)), jnp.float32)
    rows = jnp.asarray(rng.choice([0, 2, 3, 8, 9], 64), jnp.int32)
    shares = jnp.asarray(rng.normal(size=(64, 5)), jnp.float32)
    expected = np.array(total, np.float64)
    np.add.at(expected, np.asarray(rows)[rows < 9], np.asarray(shares)[rows < 9])
    for add in (xla.add_one_by_one, xla.add_by_segment):
        np.testing.assert_allclose(add(total, rows, shares), expected, rtol=1e-5, atol=1e-5)


def _batched(shape):
    """A table and reads [*shape], as a caller has them."""
    rng = np.random.default_rng(3)
    indices = jnp.asarray(rng.integers(0, 40, shape), jnp.int32)
    weights = jnp.asarray(rng.normal(size=shape), jnp.float32)
    return jnp.asarray(rng.normal(size=(40, 8)), jnp.float32), indices, weights


@functools.partial(jax.jit, static_argnames="implementation")
def _with_gradients(values, indices, weights, cotangent, implementation):
    summed, pullback = jax.vjp(
        lambda values, weights: lookup(values, indices, weights, implementation), values, weights
    )
    return summed, *pullback(cotangent)


@pytest.mark.parametrize("implementation", [None, "base", "xla"])
@pytest.mark.parametrize("shape", [(6,), (4, 3), (2, 3, 7)])
def test_any_leading_axes_and_their_gradients(shape, implementation):
    values, indices, weights = _batched(shape)
    cotangent = jnp.asarray(np.random.default_rng(1).normal(size=(*shape[:-1], 8)), jnp.float32)
    summed, values_grad, weights_grad = _with_gradients(
        values, indices, weights, cotangent, implementation
    )
    flat = (indices.reshape(-1, shape[-1]), weights.reshape(-1, shape[-1]))
    flat_cotangent = cotangent.reshape(-1, 8)
    expected = lookup_cases.weighted_sum(values, *flat).reshape(*shape[:-1], 8)
    np.testing.assert_allclose(summed, expected, rtol=1e-5, atol=1e-5)
    expected = lookup_cases.weights_gradient(values, flat[0], flat_cotangent).reshape(shape)
    np.testing.assert_allclose(weights_grad, expected, rtol=1e-5, atol=1e-5)
    expected = lookup_cases.rows_gradient(*flat, flat_cotangent, 40)
    np.testing.assert_allclose(values_grad, expected, rtol=1e-5, atol=1e-5)


def test_gradients_have_the_dtypes_of_what_they_belong_to():
    values, indices, weights = _batched((4, 3))
    values, weights = values.astype(jnp.bfloat16), weights.astype(jnp.bfloat16)
    cotangent = jnp.ones((4, 8))
    summed, values_grad, weights_grad = _with_gradients(values, indices, weights, cotangent, None)
    assert (summed.dtype, values_grad.dtype, weights_grad.dtype) == (
        jnp.float32,
        jnp.bfloat16,
        jnp.bfloat16,
    )
    expected = lookup_cases.weights_gradient(values, indices, cotangent)
    np.testing.assert_allclose(np.asarray(weights_grad, np.float32), expected, rtol=1e-2, atol=1e-2)


def test_it_maps_over_tables():
    stacks = [lookup_cases.arrays(seed, (9, 5, 4, 3), "float32")[:3] for seed in range(3)]
    stacked = [jnp.stack(arrays) for arrays in zip(*stacks, strict=True)]

    def loss(values, indices, weights):
        return jnp.sum(lookup(values, indices, weights) ** 2)

    mapped = jax.vmap(jax.value_and_grad(loss))(*stacked)
    for number, arrays in enumerate(stacks):
        for found, wanted in zip(mapped, jax.value_and_grad(loss)(*arrays), strict=True):
            np.testing.assert_allclose(found[number], wanted, rtol=1e-5, atol=1e-5)


def _chosen(rng, top_t, num_real):
    chosen = np.full(top_t, 40, np.int32)
    chosen[:num_real] = np.sort(rng.choice(40, num_real, replace=False))
    return jnp.asarray(chosen)


@jax.jit
def _delta_grads(values, delta, places, indices, weights, cotangent):
    summed, pullback = jax.vjp(
        lambda delta, weights: lookup_with_delta(values, delta, places, indices, weights),
        delta,
        weights,
    )
    return summed, *pullback(cotangent)


@given(
    seed=st.integers(0, 2**32 - 1), num_real=st.sampled_from([0, 1, 4, 6]), is_zero=st.booleans()
)
@settings(deadline=None, max_examples=60)
def test_delta_is_as_if_added_to_the_chosen_rows(seed, num_real, is_zero):
    values, indices, weights = _batched((2, 3, 7))
    rng = np.random.default_rng(seed)
    chosen = _chosen(rng, 6, num_real)
    if num_real:  # so that some row is read more than once
        indices = indices.at[..., :2].set(chosen[0])
    delta = jnp.asarray(rng.normal(size=(6, 8)) * (not is_zero), jnp.float32)
    cotangent = jnp.asarray(rng.normal(size=(2, 3, 8)), jnp.float32)
    places = slots.places(chosen, indices)
    summed, delta_grad, weights_grad = _delta_grads(
        values, delta, places, indices, weights, cotangent
    )
    added = values.at[chosen].add(delta, mode="drop")
    expected = _with_gradients(added, indices, weights, cotangent, "base")
    np.testing.assert_allclose(summed, expected[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(weights_grad, expected[2], rtol=1e-4, atol=1e-5)
    of_chosen = expected[1].at[chosen].get(mode="fill", fill_value=0)
    np.testing.assert_allclose(delta_grad, of_chosen, rtol=1e-5, atol=1e-5)


def test_delta_of_zeros_changes_no_bit():
    values, indices, weights = _batched((2, 3, 7))
    places = slots.places(_chosen(np.random.default_rng(0), 6, 6), indices)
    changed = jax.jit(lookup_with_delta)(values, jnp.zeros((6, 8)), places, indices, weights)
    np.testing.assert_array_equal(changed, jax.jit(lookup)(values, indices, weights))


def test_a_single_read_whose_place_is_a_constant_has_its_gradient():
    # XLA knows the number of reads then, and simplifies the loop over them.
    weights, zero = jnp.full((1, 1), 2.0), np.zeros((1, 1), np.int32)
    grad = jax.jit(jax.grad(lambda values: lookup(values, zero, weights).sum()))(jnp.ones((3, 2)))
    np.testing.assert_array_equal(grad, [[2, 2], [0, 0], [0, 0]])


def test_an_infinite_row_does_not_spoil_the_gradient_of_others():
    values = jnp.ones((3, 1)).at[0].set(jnp.inf)
    indices, places = jnp.array([[0], [1]]), jnp.array([[1], [0]])
    _, pullback = jax.vjp(
        lambda delta, weights: lookup_with_delta(values, delta, places, indices, weights),
        jnp.zeros((1, 1)),
        jnp.ones((2, 1)),
    )
    delta_grad, weights_grad = pullback(jnp.array([[0.0], [3.0]]))
    assert jnp.isnan(weights_grad[0, 0])
    np.testing.assert_array_equal(delta_grad, [[3.0]])


def test_arrays_closed_over_by_a_traced_function_are_checked_like_others():
    values, indices, weights = _batched((4, 3))
    expected, beyond = lookup(values, indices, weights), jnp.array([[40, 79]])
    for summed in (
        jax.jit(lambda weights: lookup(values, indices, weights))(weights),
        jax.jit(lambda indices: lookup(values, indices, weights))(indices),
    ):
        np.testing.assert_allclose(summed, expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(InputError, match="ranges from 40 to 79"):
        jax.jit(lambda weights: lookup(values, beyond, weights))(weights[:1, :2])


def test_the_table_has_no_gradient_beside_a_delta():
    values, indices, weights = _batched((2, 3, 7))
    places = slots.places(jnp.arange(6), indices)
    grad = jax.grad(
        lambda values: lookup_with_delta(values, jnp.ones((6, 8)), places, indices, weights).sum()
    )(values)
    np.testing.assert_array_equal(grad, 0)


_TOKENS, _READS, _DIM, _SLOTS, _CHOSEN = 512, 32, 64, 2**16, 32
_ALL_ROWS_BYTES = _TOKENS * _READS * _DIM * 4


def _temporary_bytes(function, dtype="float32", reads=_READS):
    shapes = (
        jax.ShapeDtypeStruct((_SLOTS, _DIM), dtype),
        jax.ShapeDtypeStruct((_TOKENS, reads), jnp.int32),
        jax.ShapeDtypeStruct((_TOKENS, reads), jnp.float32),
    )
    return jax.jit(function).lower(*shapes).compile().memory_analysis().temp_size_in_bytes


def _loss_of_weights(values, indices, weights):
    return jax.grad(lambda weights: jnp.sum(lookup(values, indices, weights) ** 2))(weights)


def _loss_of_chosen(values, indices, weights):
    places = slots.places(jnp.arange(_CHOSEN), indices)

    def loss(delta):
        return jnp.sum(lookup_with_delta(values, delta, places, indices, weights) ** 2)

    return jax.grad(loss)(jnp.zeros((_CHOSEN, _DIM)))


@pytest.mark.parametrize("implementation", ["base", "xla"])
def test_bits_of_bfloat16_are_looked_up_like_bfloat16(implementation):
    values, indices, weights = _batched((4, 3))
    narrow = values.astype(jnp.bfloat16)
    for with_bits, without in zip(
        *(
            _sum_and_weights_gradient(table, indices, weights, implementation)
            for table in (bits.encode(values), narrow)
        ),
        strict=True,
    ):
        np.testing.assert_array_equal(with_bits, without)


def _sum_and_weights_gradient(values, indices, weights, implementation):
    summed, pullback = jax.vjp(
        lambda weights: lookup(values, indices, weights, implementation), weights
    )
    return summed, *pullback(summed)


# A table of bfloat16 that XLA converted as a whole would take four times all rows.
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("function", [lookup, _loss_of_weights, _loss_of_chosen])
def test_neither_the_rows_of_all_reads_nor_a_table_are_made(function, dtype):
    assert _temporary_bytes(function, dtype) < _ALL_ROWS_BYTES / 2 < _SLOTS * _DIM * 4 / 4


def test_the_plain_form_makes_the_rows_of_all_reads():
    # So the measure of the test above sees them.
    assert _temporary_bytes(functools.partial(lookup, implementation="base")) >= _ALL_ROWS_BYTES


def test_the_memory_of_a_lookup_does_not_depend_on_the_number_of_reads():
    assert _temporary_bytes(lookup, reads=4 * _READS) == _temporary_bytes(lookup)


class _Limited:
    """A backend that has one operation, for few tokens."""

    @staticmethod
    def unsupported(values_shape, dtype, tokens, reads):
        del values_shape, dtype, reads
        return f"{tokens} tokens are too many" if tokens > 2 else None

    @staticmethod
    def weighted_sum(values, indices, weights):
        return base.weighted_sum(values, indices, weights) + 1000


@pytest.fixture
def limited(monkeypatch):
    """The limited backend in the place of a known one, as the first choice of this platform."""
    load = backends.load
    monkeypatch.setattr(
        backends, "load", lambda name: _Limited if name == "pallas_triton" else load(name)
    )
    monkeypatch.setattr(backends, "platform_order", lambda: ("pallas_triton",))
    backends.log_fallback.cache_clear()


def test_the_first_backend_that_can_is_taken_and_others_are_named_in_the_log(limited, caplog):
    values = jnp.ones((4, 2))
    with caplog.at_level(logging.WARNING):
        assert lookup(values, jnp.zeros((2, 3), int), jnp.ones((2, 3)))[0, 0] == 1003
        assert not caplog.records
        for _ in range(2):
            assert lookup(values, jnp.zeros((3, 3), int), jnp.ones((3, 3)))[0, 0] == 3
    messages = [record.getMessage() for record in caplog.records]
    assert messages == ["lookup: pallas_triton is passed over: 3 tokens are too many"]


def test_over_several_devices_the_compilers_own_form_is_taken(limited, caplog):
    values, indices, weights = jnp.ones((4, 2)), jnp.zeros((2, 3), int), jnp.ones((2, 3))
    for kind, expected in (("Auto", 3), ("Manual", 1003)):
        axis_type = getattr(jax.sharding.AxisType, kind)
        mesh = jax.sharding.AbstractMesh((2,), ("data",), axis_types=(axis_type,))
        with jax.sharding.use_abstract_mesh(mesh):
            run = backends.choose(None, values, 2, 3)
        assert run.weighted_sum(values, indices, weights)[0, 0] == expected
    assert "within jax.shard_map" in caplog.text


def test_a_forced_backend_runs_what_it_has_or_says_why_not(limited):
    values, indices = jnp.ones((4, 2)), jnp.zeros((2, 3), int)

    def loss(weights):
        return lookup(values, indices, weights, "pallas_triton").sum()

    summed, gradient = jax.value_and_grad(loss)(jnp.ones((2, 3)))
    assert summed == 4 * 1003
    np.testing.assert_array_equal(gradient, 2)  # of 'xla'
    with pytest.raises(InputError, match="'pallas_triton' cannot be used here: 3 tokens"):
        lookup(values, jnp.zeros((3, 3), int), jnp.ones((3, 3)), "pallas_triton")


_VALUES, _INDICES, _WEIGHTS = jnp.ones((4, 2)), jnp.array([[1, 3]]), jnp.ones((1, 2))


def _with_delta(delta=(3, 2), places=((0, 3),), dtype=jnp.float32):
    delta = jnp.zeros(delta, dtype)
    return lookup_with_delta(_VALUES, delta, jnp.asarray(places), _INDICES, _WEIGHTS)


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
        (lambda: lookup(_VALUES, _INDICES, jnp.ones((1, 2), int)), "weights is int32"),
        (lambda: lookup(_VALUES, _INDICES, _WEIGHTS * jnp.nan), r"weights of shape \(1, 2\) has N"),
        (lambda: lookup(_VALUES, jnp.array(1), jnp.array(1.0)), r"both \[\.\.\., k\]"),
        (lambda: lookup(_VALUES, _INDICES, _WEIGHTS, "cuda"), "implementation='cuda'; one of"),
        (lambda: _with_delta(delta=(0, 2)), r"delta is float32 of shape \(0, 2\)"),
        (lambda: _with_delta(delta=(3, 5)), r"delta is float32 of shape \(3, 5\); float32 \[top_t"),
        (lambda: _with_delta(dtype=jnp.bfloat16), "delta is bfloat16"),
        (lambda: _with_delta(places=((0, 4),)), r"places .* 0 to 4; 0 to 3 is right"),
        (lambda: _with_delta(places=((0,),)), r"places has shape \(1, 1\)"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
