"""Patches on a value table: put on and taken off again, bit for bit.

A row is what the table had, plus what each patch adds, in an order of the patches that their
contents give. So it depends on which patches are on, and not on when they came: patches may be
applied in any order and taken off in any other, and a table without them is the one before.
"""

from collections.abc import Collection, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from smem_jax.errors import InputError
from smem_jax.memory.layer import MemoryLayer
from smem_jax.memory.relevance import NO_GROUP, Relevance
from smem_jax.patch import together
from smem_jax.patch.patch import Patch

_ROWS_AT_A_TIME = 1024  # decoded, so that little is held beside the table


class _Applied:
    """A patch with the number of its first group, and a way to find slots in it."""

    def __init__(self, patch: Patch, first_group: int):
        self.patch = patch
        self.first_group = first_group
        self._order = np.argsort(patch.slots, kind="stable")
        self._sorted = patch.slots[self._order]
        self._lessons = patch.lesson_of_rows()

    def places(self, slots: np.ndarray) -> np.ndarray:
        """Where slots stand in the patch, int [n]; -1 for one that it has not."""
        if not len(self._sorted):
            return np.full(len(slots), -1)
        near = np.minimum(np.searchsorted(self._sorted, slots), len(self._sorted) - 1)
        return np.where(self._sorted[near] == slots, self._order[near], -1)

    def groups(self, places: np.ndarray) -> np.ndarray:
        """The groups of rows at `places`, int32, or `NO_GROUP`."""
        if self.patch.about.relevance is None:
            return np.full(len(places), NO_GROUP, np.int32)
        return self._lessons[places] + np.int32(self.first_group)


def _sums(
    slots: np.ndarray, base: np.ndarray, applied: Sequence[_Applied]
) -> tuple[np.ndarray, np.ndarray]:
    """Rows float32 [n, value_dim] and groups int32 [n] of slots, `base` changed in place."""
    groups = np.full(len(slots), NO_GROUP, np.int32)
    for one in applied:
        places = one.places(slots)
        there = np.flatnonzero(places >= 0)
        if there.size == len(slots):  # as for the patch that goes on; slices are faster
            base += one.patch.rows.take(places)
            groups[:] = one.groups(places)
        elif there.size:
            base[there] += one.patch.rows.take(places[there])
            groups[there] = one.groups(places[there])
    return base, groups


class Combined(NamedTuple):
    """What several patches add to a table of zeros.

    Attributes:
      slots: int32 [num_rows], each once.
      rows: float32 [num_rows, value_dim].
      groups: int32 [num_rows], which lesson trained each row, or `NO_GROUP`.
      relevance: of the gate, None where no patch has one.
      lessons: what each group was taught, or the patch and the number of the lesson in it.
    """

    slots: np.ndarray
    rows: np.ndarray
    groups: np.ndarray
    relevance: Relevance | None
    lessons: tuple[str, ...]


def combined(patches: Collection[Patch]) -> Combined:
    """The sum of patches, at least one; InputError where they may not be on one model."""
    together.check(list(patches))
    ordered = _ordered([_Applied(patch, 0) for patch in patches])
    for number, one in enumerate(ordered):
        one.first_group = sum(before.patch.num_lessons for before in ordered[:number])
    claims = np.concatenate([one.patch.slots for one in ordered])
    _, first_claims = np.unique(claims, return_index=True)
    slots = claims[np.sort(first_claims)]
    places = np.zeros(ordered[0].patch.about.num_slots, np.int32)
    places[slots] = np.arange(len(slots))
    rows = ordered[0].patch.rows.take(np.arange(len(ordered[0].patch.slots)))
    if len(slots) > len(rows):
        rows = np.pad(rows, ((0, len(slots) - len(rows)), (0, 0)))
    groups = np.full(len(slots), NO_GROUP, np.int32)
    for number, one in enumerate(ordered):
        there = places[one.patch.slots]
        own = np.arange(len(there))
        groups[there] = one.groups(own)
        for part in _parts(own) if number else ():
            rows[there[part]] += one.patch.rows.take(part)
    lessons = [lesson for one in ordered for lesson in one.patch.lessons()]
    relevance = together.relevance(list(patches))
    return Combined(slots, rows, groups, relevance, tuple(lessons))


class PatchedTable:
    """A value table and the patches that are on it.

    Args:
      values: [num_slots, value_dim], float32 or bfloat16. Given away: every `apply` and `revert`
        overwrites it where that is possible.

    Attributes:
      groups: int32 [num_slots], which lesson trained each row last, or `NO_GROUP`.
    """

    def __init__(self, values: jax.Array):
        self._dtype, self._shape = values.dtype, values.shape
        self._stored = _as_bits(values) if values.dtype == jnp.bfloat16 else values
        self.groups = jnp.full(len(values), NO_GROUP, jnp.int32)
        self._applied: dict[str, _Applied] = {}
        self._next_group = 0
        # Rows of the table without patches that are not zero, where a patch is.
        self._kept: dict[int, np.ndarray] = {}

    @property
    def values(self) -> jax.Array:
        """The table as it is now; one of bfloat16 is copied."""
        if self._dtype == jnp.bfloat16:
            return _from_bits(self._stored)
        return self._stored

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the patches on it."""
        return tuple(self._applied)

    @property
    def relevance(self) -> Relevance | None:
        """Threshold and window of the gate; None where no patch has one."""
        return together.relevance([one.patch for one in self._applied.values()])

    def apply(self, patch: Patch) -> None:
        """Puts a patch on.

        Raises InputError, and changes nothing, for another number or width of rows, and for what
        may not be on one model with the patches that are on (`smem_jax.patch.together`).
        """
        name, shape = patch.about.name, (patch.about.num_slots, patch.rows.shape()[1])
        if shape != self._shape:
            raise InputError(
                f"patch {name!r} is for {shape[0]} rows of width {shape[1]}; the table has "
                f"{self._shape[0]} of width {self._shape[1]}"
            )
        together.check([*(one.patch for one in self._applied.values()), patch])
        self._keep(patch.slots)
        self._applied[name] = _Applied(patch, self._next_group)
        self._next_group += patch.num_lessons
        self._rewrite(patch.slots, list(self._applied.values()))

    def revert(self, name: str) -> None:
        """Takes a patch off; InputError where none of that name is on."""
        if name not in self._applied:
            on = ", ".join(self._applied) or "none"
            raise InputError(f"no patch named {name!r} is applied; these are: {on}")
        others = [one for other, one in self._applied.items() if other != name]
        slots = self._applied[name].patch.slots
        self._rewrite(slots, others)
        del self._applied[name]  # only now: who was interrupted can do it again
        if self._kept:
            for slot in slots[self._free(slots)].tolist():
                self._kept.pop(slot, None)

    def _free(self, slots: np.ndarray) -> np.ndarray:
        """Whether no patch has each slot, bool [n]."""
        is_free = np.ones(len(slots), bool)
        for one in self._applied.values():
            is_free &= one.places(slots) < 0
        return is_free

    def _keep(self, slots: np.ndarray) -> None:
        """Keeps rows that no patch has changed, unless they are zero."""
        free = slots[self._free(slots)]
        for part in _parts(free):
            stored, is_kept = _rows_at(self._stored, _padded(part))
            is_kept = np.asarray(is_kept)[: len(part)]
            if not is_kept.any():
                continue
            rows = np.asarray(stored)[: len(part)].view(self._dtype).astype(np.float32)
            for place in np.flatnonzero(is_kept):
                self._kept[int(part[place])] = rows[place].copy()

    def _rewrite(self, slots: np.ndarray, applied: Sequence[_Applied]) -> None:
        """Makes the rows of slots what they are with some patches on."""
        applied = _ordered(applied)
        for part in _parts(slots):
            base = np.zeros((_ROWS_AT_A_TIME, self._shape[1]), np.float32)
            for place, slot in enumerate(part.tolist() if self._kept else ()):
                if slot in self._kept:
                    base[place] = self._kept[slot]
            rows, groups = _sums(_padded(part), base, applied)
            stored = rows.astype(self._dtype, copy=False).view(self._stored.dtype)
            self._stored, self.groups = _written(
                self._stored, self.groups, _padded(part), stored, groups
            )
            self._stored.block_until_ready()  # else decoded rows would queue up


def put(patch: Patch, layer: MemoryLayer) -> None:
    """Adds the rows of a patch to the table of a memory layer, in place, for good."""
    table: Any = layer.table
    patched = PatchedTable(table.values[...])
    patched.apply(patch)
    table.values = table.values.replace(patched.values)


def _ordered(applied: Collection[_Applied]) -> list[_Applied]:
    return sorted(applied, key=lambda one: one.patch.identity)


def _parts(slots: np.ndarray) -> list[np.ndarray]:
    return [slots[i : i + _ROWS_AT_A_TIME] for i in range(0, len(slots), _ROWS_AT_A_TIME)]


def _padded(slots: np.ndarray) -> np.ndarray:
    """Slots int32 [_ROWS_AT_A_TIME], padded with one that no table has."""
    padded = np.full(_ROWS_AT_A_TIME, np.iinfo(np.int32).max, np.int32)
    padded[: len(slots)] = slots
    return padded


@jax.jit
def _rows_at(values: jax.Array, slots: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Rows of the table, and whether each has a bit that is set: a zero with a sign has."""
    rows = values.at[slots].get(mode="fill", fill_value=0)
    bits = rows if rows.dtype == jnp.uint16 else jax.lax.bitcast_convert_type(rows, jnp.uint32)
    return rows, (bits != 0).any(axis=1)


@partial(jax.jit, donate_argnames=("values", "groups"))
def _written(
    values: jax.Array, groups: jax.Array, slots: jax.Array, rows: jax.Array, row_groups: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The table and the groups with rows and groups at `slots`; others are dropped."""
    return (
        values.at[slots].set(rows, mode="drop"),
        groups.at[slots].set(row_groups, mode="drop"),
    )


@jax.jit
def _as_bits(values: jax.Array) -> jax.Array:
    """bfloat16 as uint16: XLA for CPUs scatters a bfloat16 table by way of a float32 copy of it."""
    return jax.lax.bitcast_convert_type(values, jnp.uint16)


@jax.jit
def _from_bits(values: jax.Array) -> jax.Array:
    """What `_as_bits` was given."""
    return jax.lax.bitcast_convert_type(values, jnp.bfloat16)
