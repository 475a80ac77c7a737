"""Examples in groups by length."""

import numpy as np
import pytest

from smem_jax.data.byte_tokenizer import ByteTokenizer
from smem_jax.train.examples import by_length


@pytest.mark.parametrize("num_lengths", [1, 2, 3, 8])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_every_example_is_in_one_group_and_no_group_is_empty(count, num_lengths):
    pairs = [(n, "q" * (5 + 30 * n), "a") for n in range(count)]
    groups = by_length(ByteTokenizer(), pairs, 256, num_lengths)
    assert 1 <= len(groups) <= num_lengths
    found = np.concatenate([group.fact for group in groups])
    assert sorted(found.tolist()) == list(range(count))
    for group in groups:
        assert len(group.fact) > 0
        assert group.encoded.lengths.max() <= group.encoded.tokens.shape[1]
