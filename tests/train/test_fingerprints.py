import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smem_jax.train.fingerprints import _sums_jit, fingerprints

_DTYPES = ["bfloat16", "float16", "float32", "float8_e4m3fn", "int8", "uint16", "int32", "bool"]


def _one(array) -> str:
    return fingerprints({"array": array})["array"]


def _bits_of(dtype: str) -> int:
    return 1 if dtype == "bool" else 8 * jnp.dtype(dtype).itemsize


@pytest.mark.parametrize("dtype", _DTYPES)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_every_single_flipped_bit_changes_it(dtype, data):
    shape = (3, 5)
    element = data.draw(st.integers(0, 14))
    bit = data.draw(st.integers(0, _bits_of(dtype) - 1))
    values = np.random.default_rng(data.draw(st.integers(0, 9))).integers(0, 2, shape)
    before = values.astype(jnp.dtype(dtype))
    after = before.copy()
    raw = after.view(np.uint8).reshape(15, -1)
    raw[element, bit // 8] ^= 1 << bit % 8
    assert _one(jnp.asarray(before)) != _one(jnp.asarray(after))


@pytest.mark.parametrize("dtype", ["float64", "int64", "uint64", "complex128"])
def test_every_single_flipped_bit_of_wide_elements_changes_it(dtype):
    with jax.enable_x64():
        values = np.arange(6).astype(dtype)
        found = {_one(jnp.asarray(values))}
        for bit in range(8 * values.itemsize):
            flipped = values.copy()
            flipped.view(np.uint8)[2 * values.itemsize + bit // 8] ^= 1 << bit % 8
            found.add(_one(jnp.asarray(flipped)))
    assert len(found) == 1 + 8 * values.itemsize


@settings(max_examples=30, deadline=None)
@given(
    rows=st.lists(st.integers(0, 16), min_size=2, max_size=2, unique=True),
    axis=st.integers(0, 1),
)
def test_swapped_rows_and_columns_change_it(rows, axis):
    array = np.random.default_rng(0).normal(size=(17, 17)).astype(np.float32)
    order = np.arange(17)
    order[rows] = order[rows[::-1]]
    assert _one(jnp.asarray(array)) != _one(jnp.asarray(np.take(array, order, axis)))


def test_it_goes_by_the_bits_not_by_the_values():
    nans = np.array([np.nan, 1.0], np.float32)
    assert _one(jnp.asarray(nans)) == _one(jnp.asarray(nans.copy()))
    assert _one(jnp.array([0.0])) != _one(jnp.array([-0.0]))


def test_many_distinct_arrays_have_distinct_fingerprints():
    blocks = np.random.default_rng(0).permutation(64).reshape(64, 1, 1) * np.ones((4, 4))
    arrays = {str(i): jnp.asarray(block, jnp.int16) for i, block in enumerate(blocks)}
    assert len(set(fingerprints(arrays).values())) == len(arrays)


def test_scalars_and_empty_arrays_have_one_too():
    found = fingerprints({"scalar": jnp.float32(2), "empty": jnp.zeros((0, 3))})
    assert list(found) == ["scalar", "empty"]
    assert found["scalar"] != _one(jnp.float32(3))


def test_no_copy_of_the_array_is_stored():
    array = jax.ShapeDtypeStruct((4096, 512), jnp.bfloat16)
    memory = _sums_jit.lower([array], None).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 2**16


def test_arrays_of_random_keys_are_refused():
    with pytest.raises(TypeError, match=r"rng is an array of random keys; its jax.random.key_data"):
        fingerprints({"rng": jax.random.key(0)})
