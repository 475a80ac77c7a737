"""A memory patch: the rows that were learned, and where they belong.

A row means something only to the base model that it was trained with, and to the queries and
sub-keys that find it. So a patch names both by fingerprint, and carries queries and sub-keys, its
`Layout`: with the base model and the file alone, anyone can ask what was taught.
"""

import dataclasses
import datetime
import functools
import hashlib
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from smem_jax.errors import InputError
from smem_jax.memory.layer import MemoryLayer
from smem_jax.memory.relevance import Relevance
from smem_jax.patch.storage import Rows

_IN_NAMES = frozenset(f"{string.ascii_letters}{string.digits}._-")


class Layout(NamedTuple):
    """The fitted weights of a memory layer, float32: which tokens read which slots.

    Attributes:
      query_kernel: [input_dim, num_heads * key_dim].
      query_bias: [num_heads * key_dim].
      sub_keys: [num_heads, 2, num_sub_keys, key_dim / 2].
    """

    query_kernel: np.ndarray
    query_bias: np.ndarray
    sub_keys: np.ndarray

    @classmethod
    def of(cls, layer: MemoryLayer) -> "Layout":
        """That of a memory layer."""
        assert layer.query.bias is not None  # memory layers are built with one
        return cls(
            *(np.asarray(a[...]) for a in (layer.query.kernel, layer.query.bias, layer.sub_keys))
        )

    def put(self, layer: MemoryLayer) -> None:
        """Gives it to a memory layer, in place; InputError where it has other sizes."""
        assert layer.query.bias is not None
        for name, own, param in zip(
            self._fields, self, (layer.query.kernel, layer.query.bias, layer.sub_keys), strict=True
        ):
            if own.shape != param.shape:
                raise InputError(
                    f"{name} has shape {own.shape}; the memory layer takes {param.shape}"
                )
        for own, param in zip(
            self, (layer.query.kernel, layer.query.bias, layer.sub_keys), strict=True
        ):
            param[...] = own

    def fingerprint(self) -> str:
        """A SHA-256 of all weights, in hexadecimal."""
        digest = hashlib.sha256()
        for array in self:
            digest.update(repr(array.shape).encode())
            digest.update(np.ascontiguousarray(array, "<f4").tobytes())
        return digest.hexdigest()


@dataclasses.dataclass(frozen=True)
class About:
    """What a patch says of itself.

    Attributes:
      name: letters, digits, '.', '_' and '-', not first a dot; a patch is reverted by it.
      base: where the base model was read from, for whoever has no better place.
      base_fingerprint: of its weights (`smem_jax.models.pretrained.fingerprint`).
      memory: the section `memory` of the configuration: block and sizes of the layer.
      layout_fingerprint: of its queries and sub-keys.
      relevance: threshold and window of the gate; None without.
      taught: what was taught, a text for each lesson, or its SHA-256; None where it is not told.
      settings: how rows were selected and trained.
      created: the date, YYYY-MM-DD.
      effect: measured figures, by name.
    """

    name: str
    base: str
    base_fingerprint: str
    memory: Mapping[str, Any]
    layout_fingerprint: str
    relevance: Relevance | None = None
    taught: tuple[str, ...] | None = None
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    created: str = dataclasses.field(default_factory=lambda: datetime.date.today().isoformat())
    effect: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        check_name(self.name)

    @property
    def num_slots(self) -> int:
        """Rows of the value table."""
        return self.memory["num_slots"]


@dataclasses.dataclass(frozen=True)
class Patch:
    """Rows to add to a value table.

    Attributes:
      about: what it says of itself.
      slots: int32 [num_rows], lesson after lesson, each once in a lesson and in the patch.
      starts: int32 [num_lessons + 1], where each lesson's rows begin, and the end of the last. A
        single lesson where the rows of several are not told apart.
      rows: what is added, [num_rows, value_dim].
      layout: queries and sub-keys, or None for a patch that leaves them out.
    """

    about: About
    slots: np.ndarray
    starts: np.ndarray
    rows: Rows
    layout: Layout | None

    def __post_init__(self):
        num_rows, _ = self.rows.shape()
        if self.slots.shape != (num_rows,) or self.starts.ndim != 1 or len(self.starts) < 2:
            raise InputError(f"{self.slots.shape} slots for {num_rows} rows")
        if self.starts[0] != 0 or self.starts[-1] != num_rows or (np.diff(self.starts) < 0).any():
            raise InputError(f"the lessons' starts do not go from 0 to the {num_rows} rows")
        num_slots = self.about.num_slots
        outside = self.slots[(self.slots < 0) | (self.slots >= num_slots)]
        if outside.size:
            raise InputError(f"slot {outside[0]} is outside of the table's {num_slots} slots")
        if len(np.unique(self.slots)) < num_rows:
            raise InputError("a slot comes twice")
        if self.layout is not None:
            self._check_layout(self.layout)

    def _check_layout(self, layout: Layout) -> None:
        if layout.fingerprint() != self.about.layout_fingerprint:
            raise InputError("the queries and sub-keys are not those of its fingerprint")
        keys, kernel = layout.sub_keys.shape, layout.query_kernel.shape
        if len(keys) != 4 or keys[2] ** 2 != self.about.num_slots:
            raise InputError(f"sub-keys {keys} are not those of {self.about.num_slots} slots")
        _, value_dim = self.rows.shape()
        if len(kernel) != 2 or kernel[0] != value_dim:
            raise InputError(f"rows of width {value_dim} do not fit queries of {kernel}")

    @property
    def num_lessons(self) -> int:
        """Lessons whose rows are told apart."""
        return len(self.starts) - 1

    def lessons(self) -> list[str]:
        """What each lesson taught, or the name of the patch and the lesson's number in it."""
        taught = self.about.taught
        if taught is not None and len(taught) == self.num_lessons:
            return list(taught)
        return [f"{self.about.name}, lesson {number}" for number in range(self.num_lessons)]

    def lesson_of_rows(self) -> np.ndarray:
        """The number of the lesson of each row, int32 [num_rows]."""
        return np.repeat(np.arange(self.num_lessons, dtype=np.int32), np.diff(self.starts))

    @functools.cached_property
    def identity(self) -> str:
        """A SHA-256 of slots, lessons and rows, in hexadecimal: equal for equal contents."""
        digest = hashlib.sha256()
        for array in (self.slots, self.starts, *self.rows.arrays.values()):
            digest.update(repr((array.shape, array.dtype.str)).encode())
            digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        return digest.hexdigest()


def check_name(name: str) -> None:
    """Raises InputError for a name that could be no file, or one elsewhere."""
    if not 1 <= len(name) <= 100 or name[0] == "." or not set(name) <= _IN_NAMES:
        raise InputError(
            f"the name {name[:200]!r} of a patch must be 1 to 100 letters, digits, '_', '-' and "
            "'.', and begin with no '.'"
        )


def name_for(path: Path) -> str:
    """The name of a file or a directory, with '_' for what a patch's name may not hold."""
    name = "".join(c if c in _IN_NAMES else "_" for c in path.resolve().stem)[:100].lstrip(".")
    return name or "patch"
