"""Rows of different lengths as few array shapes, since every shape costs a compilation."""

from collections.abc import Iterator, Sequence

import numpy as np

_SHORTEST = 32


def bucket_length(length: int) -> int:
    """The shortest of 32, 64, 128, ... that holds `length`."""
    return max(_SHORTEST, 1 << (length - 1).bit_length())


def rounded_up(length: int) -> int:
    """The shortest of 16, 32, 48, 64, then 96, 128, 192, 256, ... that holds `length`.

    Less than a third of a row of more than 32 tokens is padding.
    """
    step = max(16, power_of_two(length) // 4)
    return max(step, -(-length // step) * step)


def power_of_two(number: int) -> int:
    """The least power of two that is not below `number`."""
    return 1 << max(number - 1, 0).bit_length()


def pad_rows(rows: Sequence[Sequence[int]], num_rows: int, length: int, fill: int) -> np.ndarray:
    """Rows padded with `fill`, to the right and below: int32 [num_rows, length]."""
    padded = np.full((num_rows, length), fill, np.int32)
    for index, row in enumerate(rows):
        padded[index, : len(row)] = row
    return padded


def bucketed_batches(lengths: Sequence[int], batch_size: int) -> Iterator[tuple[np.ndarray, int]]:
    """Batches of row numbers, each with the bucket length that its rows share.

    A batch has at most `batch_size` rows; every row comes exactly once.
    """
    buckets = np.asarray([bucket_length(length) for length in lengths])
    for bucket in np.unique(buckets):
        rows = np.flatnonzero(buckets == bucket)
        for start in range(0, len(rows), batch_size):
            yield rows[start : start + batch_size], int(bucket)
