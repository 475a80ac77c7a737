import functools

import jax
import jax.numpy as jnp
import lookup_cases
import numpy as np
import pytest
from hypothesis import given, settings

from smem_jax.kernels.lookup import pallas_triton

TOLERANCE = {"rtol": 1e-5, "atol": 1e-4}


# From jax 0.11 on, Triton wants to know the GPU.
H200 = jax.sharding.AbstractMesh(
    (),
    (),
    abstract_device=jax.sharding.AbstractDevice(
        device_kind="NVIDIA H200", num_cores=132, platform="gpu"
    ),
)


def lowered(function, *shapes_and_dtypes):
    """What is handed to the GPU's compiler for arguments of these shapes, as text."""
    arguments = [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in shapes_and_dtypes]
    with jax.sharding.use_abstract_mesh(H200):
        return jax.jit(function).trace(*arguments).lower(lowering_platforms=("cuda",)).as_text()


@settings(max_examples=5, deadline=None)
@given(lookup_cases.cases())
def test_the_three_operations_agree_with_numpy(case):
    seed, sizes, _ = case
    values, indices, weights, cotangent = lookup_cases.arrays(*case)
    assert pallas_triton.unsupported(values.shape, values.dtype, *indices.shape) is None

    total = pallas_triton.weighted_sum(values, indices, weights, interpret=True)
    expected = lookup_cases.weighted_sum(values, indices, weights)
    np.testing.assert_allclose(total, expected, **TOLERANCE)

    dots = pallas_triton.weights_gradient(values, indices, cotangent, interpret=True)
    expected = lookup_cases.weights_gradient(values, indices, cotangent)
    np.testing.assert_allclose(dots, expected, **TOLERANCE)

    places, num_rows = lookup_cases.places(seed, indices, sizes[0])
    rows = pallas_triton.rows_gradient(places, weights, cotangent, num_rows, interpret=True)
    expected = lookup_cases.rows_gradient(places, weights, cotangent, num_rows)
    np.testing.assert_allclose(rows, expected, **TOLERANCE)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_rows_wider_than_a_block(dtype):
    sizes = (7, pallas_triton.BLOCK_BYTES // 2 + 24, 2, 9)
    values, indices, weights, cotangent = lookup_cases.arrays(0, sizes, dtype)

    total = pallas_triton.weighted_sum(values, indices, weights, interpret=True)
    expected = lookup_cases.weighted_sum(values, indices, weights)
    np.testing.assert_allclose(total, expected, **TOLERANCE)

    dots = pallas_triton.weights_gradient(values, indices, cotangent, interpret=True)
    expected = lookup_cases.weights_gradient(values, indices, cotangent)
    np.testing.assert_allclose(dots, expected, rtol=1e-5, atol=1e-3)

    rows = pallas_triton.rows_gradient(indices, weights, cotangent, 7, interpret=True)
    expected = lookup_cases.rows_gradient(indices, weights, cotangent, 7)
    np.testing.assert_allclose(rows, expected, **TOLERANCE)


def test_what_fills_up_a_tile_reads_no_row():
    values, indices, weights, cotangent = lookup_cases.arrays(0, (9, 5, 4, 3), "float32")
    values = values.at[0].set(jnp.nan)
    indices = jnp.maximum(indices, 1)
    assert np.isfinite(pallas_triton.weighted_sum(values, indices, weights, interpret=True)).all()
    dots = pallas_triton.weights_gradient(values, indices, cotangent, interpret=True)
    assert np.isfinite(dots).all()


def test_a_row_may_have_every_read_or_none():
    _, _, weights, cotangent = lookup_cases.arrays(0, (9, 128, 40, 50), "float32")
    places = jnp.full(weights.shape, 3, jnp.int32)
    rows = pallas_triton.rows_gradient(places, weights, cotangent, 6, interpret=True)
    expected = lookup_cases.rows_gradient(places, weights, cotangent, 6)
    np.testing.assert_allclose(rows, expected, rtol=1e-5, atol=1e-3)
    assert not rows[:3].any() and not rows[4:].any()

    places = jnp.full(weights.shape, 6, jnp.int32)
    assert not pallas_triton.rows_gradient(places, weights, cotangent, 6, interpret=True).any()


def test_rows_gradient_gives_the_same_bits_twice():
    _, indices, weights, cotangent = lookup_cases.arrays(1, (40, 128, 30, 20), "float32")
    once, again = (
        pallas_triton.rows_gradient(indices, weights, cotangent, 40, interpret=True)
        for _ in range(2)
    )
    assert once.tobytes() == again.tobytes()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "num_slots, value_dim, wide", [(2**20, 512, False), (2**26, 2048, True), (1000, 300, False)]
)
def test_lowers_for_a_gpu(num_slots, value_dim, wide, dtype):
    tokens, reads = 8192, 128
    values = (num_slots, value_dim), dtype
    indices = (tokens, reads), "int32"
    weights = (tokens, reads), "float32"
    cotangent = (tokens, value_dim), "float32"
    rows_gradient = functools.partial(pallas_triton.rows_gradient, num_rows=min(num_slots, 2**20))
    for text in (
        lowered(pallas_triton.weighted_sum, values, indices, weights),
        lowered(pallas_triton.weights_gradient, values, indices, cotangent),
        lowered(rows_gradient, indices, weights, cotangent),
    ):
        assert "custom_call @__gpu$xla.gpu.triton(" in text
        assert "atomic" not in text and "scatter" not in text
        # Row numbers are extended to 64 bits where offsets into the table need it.
        assert ("extui" in text) == wide


def test_says_what_it_cannot_run():
    unsupported = pallas_triton.unsupported
    assert unsupported((8, 8), jnp.float16, 4, 4) == ("values are float16, not float32 or bfloat16")
    assert unsupported((8, 8), jnp.float32, 0, 4) == "there is nothing to read"
    assert unsupported((8, 8), jnp.float32, 2**24, 128) == (
        "tokens=16777216 times reads=128 exceeds 32 bits"
    )
