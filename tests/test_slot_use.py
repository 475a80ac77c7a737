import jax.numpy as jnp
import numpy as np
import pytest

from smem_jax import slot_use


def test_entropy_and_new_slots_are_those_of_numpy():
    random = np.random.default_rng(0)
    indices = random.integers(0, 40, (3, 5, 4))
    mask = random.random((3, 5)) < 0.7
    seen = random.random(50) < 0.4
    found = slot_use.entropy(indices, 50, mask)
    new, after = slot_use.new_share(indices, jnp.asarray(seen), mask)
    read, counts = np.unique(indices[mask], return_counts=True)
    share = counts / counts.sum()
    assert found == pytest.approx(-(share * np.log(share)).sum(), rel=1e-5)
    assert new == pytest.approx(np.mean(~seen[read]))
    np.testing.assert_array_equal(np.flatnonzero(np.asarray(after) & ~seen), read[~seen[read]])


def test_a_batch_of_padding_reads_nothing():
    indices, mask = np.zeros((2, 3), int), np.zeros(2, bool)
    new, after = slot_use.new_share(indices, jnp.zeros(4, bool), mask)
    assert slot_use.entropy(indices, 4, mask) == 0 and new == 0 and not after.any()
