"""The TensorCore kernels in interpret mode, which simulates copies and semaphores on the CPU.

A copy that a kernel forgets to wait for is made late ('on_wait') and one that overwrites what is
still read is made early ('eager'); memory that nothing was copied to is NaN.
"""

import functools

import jax
import jax.numpy as jnp
import lookup_cases
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.experimental.pallas import tpu as pltpu

from smem_jax.kernels.lookup import pallas_mosaic_tpu

# One read and more reads than the ring has buffers, tokens that fill up no group of eight, and more
# of them than one block holds.
SIZES = [(300, 128, 5, 16), (50, 384, 9, 12), (64, 128, 17, 33), (6, 128, 70, 1)]
TOLERANCE = {"rtol": 1e-5, "atol": 1e-4}


def run(values, indices, weights, cotangent, mode="on_wait"):
    interpret = pltpu.InterpretParams(dma_execution_mode=mode)
    return (
        pallas_mosaic_tpu.weighted_sum(values, indices, weights, interpret=interpret),
        pallas_mosaic_tpu.weights_gradient(values, indices, cotangent, interpret=interpret),
    )


@settings(max_examples=4, deadline=None, derandomize=True)
@given(lookup_cases.cases(tuple(SIZES)), st.sampled_from(["on_wait", "eager"]))
def test_both_operations_agree_with_numpy(case, mode):
    values, indices, weights, cotangent = lookup_cases.arrays(*case)
    assert pallas_mosaic_tpu.unsupported(values.shape, values.dtype, *indices.shape) is None
    total, dots = run(values, indices, weights, cotangent, mode)
    expected = lookup_cases.weighted_sum(values, indices, weights)
    np.testing.assert_allclose(total, expected, **TOLERANCE)
    expected = lookup_cases.weights_gradient(values, indices, cotangent)
    np.testing.assert_allclose(dots, expected, **TOLERANCE)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_rows_that_are_not_read_do_not_matter(dtype):
    # Rows 0, 3, 4, 7, ...: of every pair that bfloat16 fetches, one is read and one is not.
    values, indices, weights, cotangent = lookup_cases.arrays(0, (40, 128, 6, 7), dtype)
    pairs = jnp.arange(6 * 7).reshape(6, 7) % 20
    indices = 2 * pairs + pairs % 2
    values = jnp.where(jnp.isin(jnp.arange(40), indices)[:, None], values, jnp.nan)
    assert jnp.isnan(values).sum() == 20 * 128
    for result in run(values, indices, weights, cotangent):
        assert np.isfinite(result).all()


def test_the_words_of_a_table_are_those_of_a_bitcast_of_its_rows():
    # Interpret mode is given these words in place of a bitcast.
    values, *_ = lookup_cases.arrays(0, (16, 128, 1, 1), "bfloat16")
    bitcast = jax.jit(functools.partial(pltpu.bitcast, ty=jnp.uint32))
    np.testing.assert_array_equal(pallas_mosaic_tpu.pairs_of_rows(values), bitcast(values))


@pytest.mark.parametrize(
    "shape, dtype, tokens, reads, reason",
    [
        ((8, 128), "float16", 4, 4, "float16"),
        ((8, 200), "float32", 4, 4, "value_dim=200"),
        ((8, 16384), "float32", 4, 4, "value_dim=16384"),
        ((9, 128), "bfloat16", 4, 4, "num_slots=9"),
        ((8, 128), "float32", 4, 4096, "reads=4096"),
        ((8, 128), "float32", 0, 4, "nothing"),
        ((9, 128), "float32", 1, 1, None),
        ((2**26, 2048), "bfloat16", 32768, 128, None),
    ],
)
def test_what_is_not_supported_is_said(shape, dtype, tokens, reads, reason):
    said = pallas_mosaic_tpu.unsupported(shape, jnp.dtype(dtype), tokens, reads)
    assert said is None if reason is None else reason in said
