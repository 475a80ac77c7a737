"""What counts as a shared beginning; that it changes nothing is tested where it is used."""

import jax
import numpy as np
import pytest

from smem_jax.evaluate import shared_prefix
from smem_jax.models.transformer import KVCache

_EXAMPLES = list(range(100, 150))


@pytest.mark.parametrize(
    ("rows", "longest", "expected"),
    [
        ([[*_EXAMPLES, 1], [*_EXAMPLES, 2, 3]], 512, 48),
        ([[*_EXAMPLES, 1], [*_EXAMPLES, 2, 3]], 47, 32),
        ([[*_EXAMPLES[:34], 1], _EXAMPLES, [*_EXAMPLES, 2, 3]], 512, 32),
        ([_EXAMPLES[:31] + [1] * 40, _EXAMPLES], 512, 0),
        # Something of each row has to be left.
        ([_EXAMPLES[:48], _EXAMPLES], 512, 32),
        ([_EXAMPLES[:48]] * 3, 512, 32),
        ([_EXAMPLES], 512, 0),
        ([], 512, 0),
        ([[], _EXAMPLES], 512, 0),
    ],
)
def test_the_shared_length_is_a_multiple_of_16_that_leaves_something(rows, longest, expected):
    assert shared_prefix.shared_length(rows, longest) == expected


def test_widened_caches_begin_with_the_prefix_in_each_row():
    arrays = np.random.RandomState(0).randn(2, 1, 5, 3, 4).astype(np.float32)
    (wide,) = shared_prefix.widened([KVCache(*map(jax.numpy.asarray, arrays))], 6, 2)
    assert wide.keys.shape == wide.values.shape == (6, 7, 3, 4)
    for row in range(6):
        np.testing.assert_array_equal(wide.keys[row, :5], arrays[0, 0])
        np.testing.assert_array_equal(wide.values[row, :5], arrays[1, 0])
