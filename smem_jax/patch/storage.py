"""How the rows of a patch are stored: exactly, rounded, or as a product of small matrices.

Storage        bytes a row of width D         what is kept
'float32'      4 D                            every bit
'bfloat16'     2 D                            8 bits of each number
'int8'         D + 4                          round(127 x / max |x|), and the scale of the row
'low_rank'     r / 2, and r (D / 2 + 4) for   the first r singular vectors of a lesson's rows, with
               each lesson                    their square roots of singular values, in 4 bits

docs/patches.md has what each costs in recall.
"""

from collections.abc import Mapping
from typing import Protocol

import ml_dtypes
import numpy as np

from smem_jax.errors import InputError
from smem_jax.patch import low_rank
from smem_jax.patch.low_rank import LowRank

STORAGES = ("float32", "bfloat16", "int8", "low_rank")
RANK = 16


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
        # The scale of numbers below the normal ones is rounded itself.
        quotients = np.clip(np.rint(quotients), -127, 127)
        return Scaled(quotients.astype(np.int8), scales.astype(np.float32))
    if storage == "low_rank":
        return low_rank.encode(rows, starts, rank)
    raise InputError(f"storage={storage!r} must be one of {', '.join(STORAGES)}")


def from_arrays(arrays: Mapping[str, np.ndarray], starts: np.ndarray) -> Rows:
    """The rows that a file holds; InputError where the arrays do not belong together."""
    names = set(arrays)
    if names == {"rows"} and arrays["rows"].dtype != np.int8:
        rows: Rows = Plain(arrays["rows"])
    elif names == {"rows", "scales"}:
        rows = Scaled(arrays["rows"], arrays["scales"])
    elif names in (set(LowRank.NAMES), {*LowRank.NAMES, "filled"}):
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
