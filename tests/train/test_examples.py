"""Examples in groups by length."""

import pytest

from smem_jax.data.byte_tokenizer import ByteTokenizer
from smem_jax.train.examples import by_length


@pytest.mark.parametrize(
    ("count", "num_lengths", "expected"),
    [
        (1, 8, [[0]]),
        (2, 3, [[0], [1]]),  # one limit lies between the two lengths, with no example of its own
        (5, 1, [[0, 1, 2, 3, 4]]),
        (5, 2, [[0, 1, 2], [3, 4]]),
        (5, 8, [[0], [1], [2], [3], [4]]),
    ],
)
def test_groups_are_of_like_lengths_and_none_is_empty(count, num_lengths, expected):
    # Of 30 bytes more each.
    pairs = [(n, "q" * (5 + 30 * n), "a") for n in range(count)]
    groups = by_length(ByteTokenizer(), pairs, 256, num_lengths)
    assert [group.fact.tolist() for group in groups] == expected
