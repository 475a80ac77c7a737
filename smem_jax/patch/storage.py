"""How the rows of a patch are stored: exactly, rounded, or as a product of small matrices.

Storage        bytes a row of width D         what is kept
'float32'      4 D                            every bit
'bfloat16'     2 D                            8 bits of each number
'int8'         D + 4                          round(127 x / max |x|), and the scale of the row
'low_rank'     r / 2, and r (D / 2 + 4) for   the first r singular vectors of a lesson's rows, with
               each lesson                    their square roots of singular values, in 4 bits

A lesson moves its rows together, in few directions: of 300 rows that a fact trains, 16 directions
answer as well as all (docs/patches.md has the figures), in a hundredth of the room.
"""

from collections.abc import Mapping
from typing import Protocol

import ml_dtypes
import numpy as np
import tqdm

from smem_jax.errors import InputError

STORAGES = ("float32", "bfloat16", "int8", "low_rank")
RANK = 16
# Parts of the largest absolute value that the ends of the 4-bit scale are tried at.
_CLIPS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


class Rows(Protocol):
    """Stored rows; `arrays` are what a file holds, by name."""

    arrays: Mapping[str, np.ndarray]

    def shape(self) -> tuple[int, int]:
        """Number of rows, and their width."""
        ...

    def take(self, places: np.ndarray) -> np.ndarray:
        """The rows at `places`, int [n]: float32 [n, value_dim]."""
        ...


def encode(rows: np.ndarray, starts: np.ndarray, storage: str, rank: int = RANK) -> Rows:
    """Stores rows, float32 [num_rows, value_dim].

    Args:
      starts: where each lesson's rows begin, and after the last, their end: int [num_lessons + 1].
      storage: one of `STORAGES`.
      rank: of 'low_rank', even.

    Raises InputError for any other storage or rank, and for rows that are not finite.
    """
    if not np.isfinite(rows).all():
        raise InputError("a patch needs finite rows; what was taught has NaN or infinity in it")
    if storage == "float32":
        return Plain(np.asarray(rows, np.float32))
    if storage == "bfloat16":
        halves = np.asarray(rows, ml_dtypes.bfloat16)
        if not np.isfinite(halves.astype(np.float32)).all():
            raise InputError(f"numbers up to {np.abs(rows).max():g} are too large for {storage!r}")
        return Plain(halves)
    if storage == "int8":
        scales = np.abs(rows).max(axis=1, initial=0) / 127
        quotients = rows / np.where(scales == 0, 1, scales)[:, None]
        return Scaled(np.rint(quotients).astype(np.int8), scales.astype(np.float32))
    if storage == "low_rank":
        return _encode_low_rank(rows, starts, rank)
    raise InputError(f"storage={storage!r} must be one of {', '.join(STORAGES)}")


def from_arrays(arrays: Mapping[str, np.ndarray], starts: np.ndarray) -> Rows:
    """The rows that a file holds; InputError where the arrays do not belong together."""
    names = set(arrays)
    if names == {"rows"} and arrays["rows"].dtype != np.int8:
        rows: Rows = Plain(arrays["rows"])
    elif names == {"rows", "scales"}:
        rows = Scaled(arrays["rows"], arrays["scales"])
    elif names == set(LowRank.NAMES):
        rows = LowRank(starts=starts, **arrays)
    else:
        raise InputError(f"rows stored as {', '.join(sorted(names)) or 'nothing'} are not known")
    return rows


class Plain:
    """Rows as they are: float32 or bfloat16 [num_rows, value_dim]."""

    def __init__(self, rows: np.ndarray):
        if rows.ndim != 2 or rows.dtype not in (np.float32, ml_dtypes.bfloat16):
            raise InputError(f"rows of shape {rows.shape} and type {rows.dtype} cannot be right")
        self.arrays: Mapping[str, np.ndarray] = {"rows": rows}

    def shape(self) -> tuple[int, int]:
        """Number of rows, and their width."""
        num_rows, value_dim = self.arrays["rows"].shape
        return num_rows, value_dim

    def take(self, places: np.ndarray) -> np.ndarray:
        """The rows at `places`, float32."""
        return self.arrays["rows"][places].astype(np.float32)


class Scaled:
    """Rows int8 [num_rows, value_dim], each with a scale, float32 [num_rows]."""

    def __init__(self, rows: np.ndarray, scales: np.ndarray):
        if rows.ndim != 2 or rows.dtype != np.int8 or scales.dtype != np.float32:
            raise InputError(f"rows of type {rows.dtype} with scales of {scales.dtype}")
        if scales.shape != rows.shape[:1]:
            raise InputError(f"{len(rows)} rows with scales of shape {scales.shape}")
        if np.abs(scales).max(initial=0) > np.finfo(np.float32).max / 128:
            raise InputError(f"a scale of {np.abs(scales).max():g} is too large")
        self.arrays: Mapping[str, np.ndarray] = {"rows": rows, "scales": scales}

    def shape(self) -> tuple[int, int]:
        """Number of rows, and their width."""
        num_rows, value_dim = self.arrays["rows"].shape
        return num_rows, value_dim

    def take(self, places: np.ndarray) -> np.ndarray:
        """The rows at `places`, float32."""
        return self.arrays["rows"][places] * self.arrays["scales"][places, None]


class LowRank:
    """The rows of each lesson as a product [rows, rank] x [rank, value_dim], in 4 bits.

    Args:
      factors: two numbers a byte, uint8 [num_rows, rank / 2].
      factor_scales: float16 [num_lessons, rank].
      bases: uint8 [num_lessons, rank, value_dim / 2].
      base_scales: float16 [num_lessons, rank].
      starts: where each lesson's rows begin; see `encode`.
    """

    NAMES = ("factors", "factor_scales", "bases", "base_scales")

    def __init__(
        self,
        factors: np.ndarray,
        factor_scales: np.ndarray,
        bases: np.ndarray,
        base_scales: np.ndarray,
        starts: np.ndarray,
    ):
        parts = (factors, factor_scales, bases, base_scales)
        self.arrays: Mapping[str, np.ndarray] = dict(zip(self.NAMES, parts, strict=True))
        num_lessons, rank = len(starts) - 1, factor_scales.shape[-1] if factor_scales.ndim else 0
        for name, shape, dtype in (
            ("factors", (starts[-1], rank // 2), np.uint8),
            ("factor_scales", (num_lessons, rank), np.float16),
            ("bases", (num_lessons, rank, *bases.shape[2:]), np.uint8),
            ("base_scales", (num_lessons, rank), np.float16),
        ):
            found = self.arrays[name]
            if (
                (found.shape, found.dtype) != (shape, dtype)
                or rank < 2
                or rank % 2
                or bases.ndim != 3
            ):
                raise InputError(
                    f"{name} has shape {found.shape} and type {found.dtype}, which does not fit "
                    f"{num_lessons} lessons of {starts[-1]} rows and rank {rank}"
                )
        self._starts = starts

    def shape(self) -> tuple[int, int]:
        """Number of rows, and their width."""
        return len(self.arrays["factors"]), 2 * self.arrays["bases"].shape[2]

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
        part = slice(self._starts[lesson], self._starts[lesson + 1])
        scales = self.arrays["factor_scales"][lesson].astype(np.float32)
        factors = _unpacked(self.arrays["factors"][part])
        factors *= scales * self.arrays["base_scales"][lesson].astype(np.float32)
        np.matmul(factors, _unpacked(self.arrays["bases"][lesson]), out=out)


def _encode_low_rank(rows: np.ndarray, starts: np.ndarray, rank: int) -> LowRank:
    num_rows, value_dim = rows.shape
    if not 2 <= rank <= max(value_dim, 2) or rank % 2 or value_dim % 2:
        raise InputError(
            f"rank={rank} must be even, from 2 to the width of a row, {value_dim}, also even"
        )
    num_lessons = len(starts) - 1
    factors = np.zeros((num_rows, rank // 2), np.uint8)
    bases = np.zeros((num_lessons, rank, value_dim // 2), np.uint8)
    scales = np.zeros((2, num_lessons, rank), np.float16)
    for lesson in tqdm.trange(num_lessons, desc="lessons", delay=2):
        part = slice(starts[lesson], starts[lesson + 1])
        left, right = _halves(rows[part].astype(np.float64), rank)
        factors[part], scales[0, lesson] = _in_4_bits(left.T, transpose=True)
        bases[lesson], scales[1, lesson] = _in_4_bits(right)
    return LowRank(factors, scales[0], bases, scales[1], np.asarray(starts))


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
