"""Arrays of a work directory, written and read back."""

import numpy as np

from smem_jax.train import files


def test_arrays_come_back_in_whatever_order_they_lie(tmp_path):
    rows = np.arange(6, dtype=np.int32).reshape(2, 3)
    files.write_npz(tmp_path / "a.npz", rows=rows, columns=np.asfortranarray(rows), one=np.ones(()))
    found = files.read_npz(tmp_path / "a.npz")
    np.testing.assert_array_equal(found["rows"], rows)
    np.testing.assert_array_equal(found["columns"], rows)
    assert found["one"].shape == () and found["one"] == 1
