"""Huge pages change where a table lies, not what it holds."""

import sys

import jax.numpy as jnp
import numpy as np

from smem_jax.kernels import huge_pages


def test_a_table_keeps_its_values():
    table = jnp.arange(2**22, dtype=jnp.float32).reshape(2**14, 2**8)
    agreed = huge_pages.use_for(table)
    assert agreed in (True, False) if sys.platform.startswith("linux") else not agreed
    np.testing.assert_array_equal(table.ravel(), np.arange(2**22))


def test_a_table_smaller_than_a_page_is_left_alone():
    assert not huge_pages.use_for(jnp.ones((4, 4)))


def test_bad_addresses_do_no_harm():
    assert not huge_pages.use_at(2**21, 2**22)  # nothing of this process lies there
