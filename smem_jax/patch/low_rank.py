"""The rows of a patch as products of small matrices, in 4 bits.

A lesson moves its rows together, in few directions: of 300 rows that a fact trains, 16 directions
answer nearly as well as all, in a hundredth of the room.
"""

from collections.abc import Mapping

import numpy as np
import tqdm

from smem_jax.errors import InputError

# Parts of the largest absolute value that the ends of the 4-bit scale are tried at.
_CLIPS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


class LowRank:
    """The rows of each lesson as a product [rows, rank] x [rank, value_dim], in 4 bits.

    Args:
      factors: two numbers a byte, uint8 [num_filled, rank / 2].
      factor_scales: float16 [num_lessons, rank].
      bases: uint8 [num_lessons, rank, value_dim / 2].
      base_scales: float16 [num_lessons, rank].
      starts: where each lesson's rows begin; see `storage.encode`.
      filled: how many of each lesson's rows have factors, int32 [num_lessons]; those behind them
        are zero. All of them, where it is left out.
    """

    NAMES = ("factors", "factor_scales", "bases", "base_scales")

    def __init__(
        self,
        factors: np.ndarray,
        factor_scales: np.ndarray,
        bases: np.ndarray,
        base_scales: np.ndarray,
        starts: np.ndarray,
        filled: np.ndarray | None = None,
    ):
        parts = (factors, factor_scales, bases, base_scales)
        arrays = dict(zip(self.NAMES, parts, strict=True))
        sizes = np.diff(starts).astype(np.int32)
        if filled is None:
            filled = sizes
        else:
            arrays["filled"] = filled
            if (filled.dtype, filled.shape) != (np.int32, sizes.shape):
                raise InputError(
                    f"filled has shape {filled.shape} and type {filled.dtype}; int32 for each of "
                    f"{len(sizes)} lessons is right"
                )
            wrong = np.flatnonzero((filled < 0) | (filled > sizes))
            if wrong.size:
                lesson = wrong[0]
                raise InputError(
                    f"filled={filled[lesson]} of lesson {lesson}, which has {sizes[lesson]} rows"
                )
        num_lessons, rank = len(starts) - 1, factor_scales.shape[-1] if factor_scales.ndim else 0
        num_filled = int(filled.sum(dtype=np.int64))
        for name, shape, dtype in (
            ("factors", (num_filled, rank // 2), np.uint8),
            ("factor_scales", (num_lessons, rank), np.float16),
            ("bases", (num_lessons, rank, *bases.shape[2:]), np.uint8),
            ("base_scales", (num_lessons, rank), np.float16),
        ):
            found = arrays[name]
            if (
                (found.shape, found.dtype) != (shape, dtype)
                or rank < 2
                or rank % 2
                or bases.ndim != 3
            ):
                raise InputError(
                    f"{name} has shape {found.shape} and type {found.dtype}, which does not fit "
                    f"{num_lessons} lessons of {num_filled} rows and rank {rank}"
                )
        self.arrays: Mapping[str, np.ndarray] = arrays
        self._starts = starts
        self._ends = np.cumsum(filled, dtype=np.int64)

    def shape(self) -> tuple[int, int]:
        """Number of rows, and their width."""
        return int(self._starts[-1]), 2 * self.arrays["bases"].shape[2]

    def take(self, places: np.ndarray) -> np.ndarray:
        """The rows at `places`, float32."""
        rows = np.empty((len(places), self.shape()[1]), np.float32)
        lessons = np.searchsorted(self._starts, places, side="right") - 1
        ends = [*(np.flatnonzero(np.diff(lessons)) + 1).tolist(), len(places)]
        begin = 0
        for end in ends if len(places) else ():
            lesson = int(lessons[begin])
            first, last = int(self._starts[lesson]), int(self._starts[lesson + 1])
            part = places[begin:end]
            if len(part) == last - first and (np.diff(part) == 1).all():
                self._decode(lesson, rows[begin:end])
            else:  # rounded as in the whole of the lesson, whichever rows are asked for
                whole = np.empty((last - first, rows.shape[1]), np.float32)
                self._decode(lesson, whole)
                rows[begin:end] = whole[part - first]
            begin = end
        return rows

    def _decode(self, lesson: int, out: np.ndarray) -> None:
        """Writes all rows of a lesson to `out`."""
        part = slice(self._ends[lesson - 1] if lesson else 0, self._ends[lesson])
        count = part.stop - part.start
        scales = self.arrays["factor_scales"][lesson].astype(np.float32)
        factors = _unpacked(self.arrays["factors"][part])
        factors *= scales * self.arrays["base_scales"][lesson].astype(np.float32)
        np.matmul(factors, _unpacked(self.arrays["bases"][lesson]), out=out[:count])
        out[count:] = 0


def encode(rows: np.ndarray, starts: np.ndarray, rank: int) -> LowRank:
    """Stores rows; see `storage.encode`. Zero rows at the end of a lesson take no room."""
    value_dim = rows.shape[1]
    if not 2 <= rank <= max(value_dim, 2) or rank % 2 or value_dim % 2:
        raise InputError(
            f"rank={rank} must be even, from 2 to the width of a row, {value_dim}, also even"
        )
    num_lessons = len(starts) - 1
    factors = [np.zeros((0, rank // 2), np.uint8)]
    filled = np.zeros(num_lessons, np.int32)
    bases = np.zeros((num_lessons, rank, value_dim // 2), np.uint8)
    scales = np.zeros((2, num_lessons, rank), np.float16)
    for lesson in tqdm.trange(num_lessons, desc="lessons", delay=2):
        own = rows[starts[lesson] : starts[lesson + 1]]
        filled[lesson] = np.flatnonzero(own.any(axis=1)).max(initial=-1) + 1
        left, right = _halves(own[: filled[lesson]].astype(np.float64), rank)
        packed, scales[0, lesson] = _in_4_bits(left.T, transpose=True)
        factors.append(packed)
        bases[lesson], scales[1, lesson] = _in_4_bits(right)
    fewer = filled if (filled != np.diff(starts)).any() else None
    return LowRank(np.concatenate(factors), scales[0], bases, scales[1], np.asarray(starts), fewer)


def _halves(rows: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """Left and right singular vectors, each times the root of its value, the largest `rank`.

    Zeros where there are fewer. By way of the eigenvectors of the smaller of both products of the
    rows with themselves, which costs a tenth of the whole decomposition.
    """
    num_rows, value_dim = rows.shape
    is_wide = num_rows <= value_dim
    squares, vectors = np.linalg.eigh(rows @ rows.T if is_wide else rows.T @ rows)
    kept = min(rank, len(squares))
    largest = vectors[:, ::-1][:, :kept]
    values = np.sqrt(np.maximum(squares[::-1][:kept], 0))
    roots = np.sqrt(values)
    inverses = np.divide(
        1, roots, out=np.zeros_like(roots), where=values > 1e-9 * values.max(initial=0)
    )
    left, right = np.zeros((num_rows, rank)), np.zeros((rank, value_dim))
    if is_wide:
        left[:, :kept] = largest * roots
        right[:kept] = (largest * inverses).T @ rows
    else:
        left[:, :kept] = rows @ (largest * inverses)
        right[:kept] = (largest * roots).T
    return left, right


def _in_4_bits(rows: np.ndarray, transpose: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Rows in 4 bits each with the scale that errs least, two numbers a byte along the last axis.

    With `transpose`, those bytes are of the transposed rows.
    """
    largest = np.abs(rows).max(axis=1, initial=0)
    if largest.max(initial=0) / 7 > np.finfo(np.float16).max:
        raise InputError(f"numbers up to {largest.max():g} are too large for storage='low_rank'")
    best = np.full(len(rows), np.inf)
    quotients, scales = np.zeros(rows.shape, np.int8), np.zeros(len(rows), np.float16)
    for clip in _CLIPS:
        tried = (largest * clip / 7).astype(np.float16)
        divisors = np.where(tried == 0, 1, tried).astype(np.float32)[:, None]
        rounded = np.clip(np.rint(rows / divisors), -7, 7)
        errors = ((rounded * divisors - rows) ** 2).sum(axis=1)
        better = errors < best
        best[better], scales[better] = errors[better], tried[better]
        quotients[better] = rounded[better]
    return _packed(quotients.T if transpose else quotients), scales


def _packed(numbers: np.ndarray) -> np.ndarray:
    """Numbers from -8 to 7, int8 [..., n], as uint8 [..., n / 2], the even ones in the low bits."""
    bits = (numbers + 8).astype(np.uint8)
    return bits[..., 0::2] | bits[..., 1::2] << 4


def _unpacked(packed: np.ndarray) -> np.ndarray:
    """What `_packed` was given, as float32."""
    numbers = np.empty((*packed.shape[:-1], 2 * packed.shape[-1]), np.float32)
    numbers[..., 0::2] = packed & 15
    numbers[..., 1::2] = packed >> 4
    numbers -= 8
    return numbers
