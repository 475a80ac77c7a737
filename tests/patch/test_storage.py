"""Rows as they come back from each kind of storage."""

import numpy as np
import pytest

from smem_jax.errors import InputError
from smem_jax.patch import storage

STARTS = np.asarray([0, 5, 5, 40], np.int32)


def rows(num_rows: int = 40, width: int = 32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(num_rows, width)).astype(np.float32)


def decoded(stored: storage.Rows) -> np.ndarray:
    return stored.take(np.arange(stored.shape()[0]))


def test_float32_keeps_every_bit_and_bfloat16_the_first_ones():
    given = rows()
    assert decoded(storage.encode(given, STARTS, "float32")).tobytes() == given.tobytes()
    rounded = decoded(storage.encode(given, STARTS, "bfloat16"))
    np.testing.assert_allclose(rounded, given, rtol=2**-8)
    assert (rounded.view(np.uint32) & 0xFFFF == 0).all()


def test_int8_is_off_by_half_a_step_at_most():
    given = rows()
    given[3] = 0
    step = np.abs(given).max(axis=1, keepdims=True) / 127
    error = np.abs(decoded(storage.encode(given, STARTS, "int8")) - given)
    assert (error <= 0.5001 * step).all()
    tiny = np.full_like(given, 1e-43)  # as are their scales, which so are rounded themselves
    tiny[:, 0] = 2.7e-43
    assert (decoded(storage.encode(tiny, STARTS, "int8")) >= 0).all()


def test_low_rank_rows_of_few_directions_come_back_but_for_rounding():
    """Numpy's own decomposition is the yardstick: what it cuts off, and what 4 bits cost."""
    random = np.random.default_rng(1)
    given = np.concatenate(
        [random.normal(size=(n, 4)) @ random.normal(size=(4, 32)) for n in (5, 35)]
    )
    given = given.astype(np.float32)
    found = decoded(storage.encode(given, STARTS, "low_rank", rank=4))
    assert np.linalg.norm(found - given) < 0.15 * np.linalg.norm(given)
    full = rows(seed=2)
    found = decoded(storage.encode(full, STARTS, "low_rank", rank=8))
    for start, stop in ((0, 5), (5, 40)):
        s = np.linalg.svd(full[start:stop], compute_uv=False)
        cut_off = np.sqrt((s[8:] ** 2).sum())
        error = np.linalg.norm(found[start:stop] - full[start:stop])
        assert cut_off <= error < cut_off + 0.15 * np.linalg.norm(s[:8])


@pytest.mark.parametrize("name", storage.STORAGES)
def test_rows_are_the_same_bits_however_they_are_asked_for(name):
    stored = storage.encode(rows(), STARTS, name, rank=4)
    whole = decoded(stored)
    for places in ([7, 3, 39, 3], [0], list(range(4, 20)), []):
        found = stored.take(np.asarray(places, int))
        assert found.tobytes() == whole[places].tobytes(), places


@pytest.mark.parametrize("name", storage.STORAGES)
def test_arrays_of_a_file_give_the_same_rows(name):
    stored = storage.encode(rows(), STARTS, name, rank=4)
    again = storage.from_arrays(stored.arrays, STARTS)
    np.testing.assert_array_equal(decoded(again), decoded(stored))


def test_zero_rows_stay_zero():
    for name in storage.STORAGES:
        assert not decoded(storage.encode(0 * rows(), STARTS, name)).any()


def test_what_cannot_be_stored_is_refused():
    bad = rows()
    bad[2, 3] = np.nan
    with pytest.raises(InputError, match="NaN"):
        storage.encode(bad, STARTS, "float32")
    with pytest.raises(InputError, match="storage='zip' must be one of float32"):
        storage.encode(rows(), STARTS, "zip")
    with pytest.raises(InputError, match=r"rank=3 .* even"):
        storage.encode(rows(), STARTS, "low_rank", rank=3)
    with pytest.raises(InputError, match="too large for storage='low_rank'"):
        storage.encode(rows() * np.float32(1e30), STARTS, "low_rank")


def test_arrays_that_do_not_belong_together_are_refused():
    arrays = dict(storage.encode(rows(), STARTS, "low_rank", rank=4).arrays)
    with pytest.raises(InputError, match="factor_scales has shape"):
        storage.from_arrays({**arrays, "factor_scales": arrays["factor_scales"][:2]}, STARTS)
    with pytest.raises(InputError, match="factors has shape"):
        storage.from_arrays({**arrays, "factors": arrays["factors"][:7]}, STARTS)
    with pytest.raises(InputError, match="are not known"):
        storage.from_arrays({"rows": rows(), "others": rows()}, STARTS)
    int8 = storage.encode(rows(), STARTS, "int8").arrays
    with pytest.raises(InputError, match="scales of shape"):
        storage.from_arrays({**int8, "scales": int8["scales"][:2]}, STARTS)
    with pytest.raises(InputError, match="cannot be right"):
        storage.from_arrays({"rows": np.zeros((3, 4), np.int32)}, STARTS)
