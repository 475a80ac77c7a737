"""Examples in groups by length."""

import pytest

from smem_jax.data.byte_tokenizer import ByteTokenizer
from smem_jax.train.examples import Schedule, by_length


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


def test_a_batch_depends_on_its_step_alone():
    pairs = [(n, "q" * (5 + 30 * (n % 3)), "a") for n in range(12)]
    groups = by_length(ByteTokenizer(), pairs, 256, 3)
    in_order = Schedule(groups, 4, seed=1)
    batches = [in_order.batch(step) for step in range(40)]
    for step in (39, 7, 0):
        group, rows = Schedule(groups, 4, seed=1).batch(step)
        assert (group, rows.tolist()) == (batches[step][0], batches[step][1].tolist())
    # Every row of a group comes once before any comes again.
    for group, examples in enumerate(groups):
        taken = [rows.tolist() for of, rows in batches if of == group]
        once = [row for rows in taken[: len(examples.fact) // 4] for row in rows]
        assert len(set(once)) == len(once) > 0
