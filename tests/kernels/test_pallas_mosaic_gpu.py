import itertools

import jax
import jax.numpy as jnp
import lookup_cases
import numpy as np
import pytest
from hypothesis import given, settings
from jax._src.pallas.mosaic_gpu.interpret import interpret_pallas_call

from smem_jax.kernels.lookup import pallas_mosaic_gpu

try:
    from jax.experimental.pallas.mosaic_gpu import InterpretGPUParams
except ImportError:  # it became public with jax 0.11
    from jax._src.pallas.mosaic_gpu.interpret.params import InterpretGPUParams

# num_slots, value_dim, tokens, reads: a ring that goes around, one that holds all reads, steps of
# eight rows, of four and of one, and a single read.
SIZES = ((40, 2048, 1, 33), (300, 128, 3, 16), (50, 384, 2, 12), (9, 1024, 1, 64), (1, 128, 2, 1))


def lowered(function, *shapes_and_dtypes):
    """What is handed to the GPU's compiler for arguments of these shapes, as text."""
    arguments = [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in shapes_and_dtypes]
    return jax.jit(function).trace(*arguments).lower(lowering_platforms=("cuda",)).as_text()


@settings(max_examples=4, deadline=None)
@given(lookup_cases.cases(SIZES))
def test_both_operations_agree_with_numpy_without_a_race(case):
    values, indices, weights, cotangent = lookup_cases.arrays(*case)
    assert pallas_mosaic_gpu.unsupported(values.shape, values.dtype, *indices.shape) is None
    simulated = InterpretGPUParams(detect_races=True)

    total = pallas_mosaic_gpu.weighted_sum(values, indices, weights, interpret=simulated)
    expected = lookup_cases.weighted_sum(values, indices, weights)
    np.testing.assert_allclose(total, expected, rtol=1e-5, atol=1e-4)
    assert not interpret_pallas_call.get_races().races_found

    dots = pallas_mosaic_gpu.weights_gradient(values, indices, cotangent, interpret=simulated)
    expected = lookup_cases.weights_gradient(values, indices, cotangent)
    np.testing.assert_allclose(dots, expected, rtol=1e-5, atol=1e-3)
    assert not interpret_pallas_call.get_races().races_found


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "num_slots, value_dim, reads",
    [(2**20, 1024, 128), (2**26, 2048, 128), (1000, 384, 33), (1000, 8192, 32), (1000, 128, 1)],
)
def test_lowers_for_a_gpu(num_slots, value_dim, reads, dtype):
    values, indices = ((num_slots, value_dim), dtype), ((8192, reads), "int32")
    weights, cotangent = ((8192, reads), "float32"), ((8192, value_dim), "float32")
    for text in (
        lowered(pallas_mosaic_gpu.weighted_sum, values, indices, weights),
        lowered(pallas_mosaic_gpu.weights_gradient, values, indices, cotangent),
    ):
        assert "custom_call @mosaic_gpu" in text
        # Bulk copies by address, which are of whole rows; those by a descriptor say 'tensor'.
        assert "cp.async.bulk.shared::cta.global" in text and "bulk.tensor" not in text


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_ring_fits_shared_memory(dtype):
    widths = range(128, pallas_mosaic_gpu.MAX_VALUE_DIM + 1, 128)
    for value_dim, reads in itertools.product(widths, (1, 12, 33, 128)):
        ring, rows = pallas_mosaic_gpu._ring_and_rows(value_dim, dtype, reads)
        assert reads % rows == 0 and ring <= min(reads // rows, pallas_mosaic_gpu.MAX_STEPS)
        row_bytes = value_dim * jnp.dtype(dtype).itemsize
        assert ring * rows * row_bytes <= pallas_mosaic_gpu.IN_FLIGHT_BYTES
        # While one step is computed, another is under way.
        assert ring >= min(2, reads // rows)


def test_says_what_it_cannot_run():
    unsupported = pallas_mosaic_gpu.unsupported
    assert unsupported((8, 128), jnp.float16, 4, 4) == (
        "values are float16, not float32 or bfloat16"
    )
    assert unsupported((8, 200), jnp.float32, 4, 4) == "value_dim=200 is no multiple of 128"
    assert unsupported((8, 8320), jnp.bfloat16, 4, 4) == "value_dim=8320 exceeds 8192"
    assert unsupported((8, 128), jnp.float32, 4, 0) == "there is nothing to read"
