"""Patches of what a run has learned, and the same patch in other storage."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from smem_jax.errors import InputError
from smem_jax.memory.layer import MemoryLayer
from smem_jax.memory.relevance import Relevance
from smem_jax.patch import storage as storages
from smem_jax.patch.patch import About, Layout, Patch

Taught = Literal["texts", "hashes", "none"]


class Learned(NamedTuple):
    """What training added to a value table.

    Attributes:
      slots: int32 [num_rows], lesson after lesson.
      starts: int32 [num_lessons + 1], where each lesson's rows begin; [0, num_rows] where the rows
        of lessons are not told apart.
      rows: float32 [num_rows, value_dim].
    """

    slots: np.ndarray
    starts: np.ndarray
    rows: np.ndarray


def by_lesson(slots: np.ndarray, groups: np.ndarray, rows: np.ndarray) -> Learned:
    """Rows in the order of their groups, int [num_rows], and within one, of slots."""
    order = np.lexsort((slots, groups))
    _, starts = np.unique(groups[order], return_index=True)
    whole = np.append(starts, len(slots)).astype(np.int32)
    if not len(slots):
        whole = np.zeros(2, np.int32)
    return Learned(slots[order].astype(np.int32), whole, rows[order])


def make(
    learned: Learned,
    layer: MemoryLayer,
    *,
    name: str,
    base: str,
    fingerprint: str,
    memory: Mapping[str, Any],
    relevance: Relevance | None = None,
    taught: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    effect: Mapping[str, float] | None = None,
) -> Patch:
    """A patch of what was learned, bit for bit where the table is float32 or bfloat16.

    Args:
      layer: with the queries and sub-keys that the rows were trained for.
      base: where the base model was read from; `fingerprint` is of its weights.
      memory: the section of the configuration.
      taught, settings, effect: see `About`.
    """
    layout = Layout.of(layer)
    rows = storages.encode(learned.rows, learned.starts, layer.config.values_dtype)
    about = About(
        name=name,
        base=base,
        base_fingerprint=fingerprint,
        memory=dict(memory),
        layout_fingerprint=layout.fingerprint(),
        relevance=relevance,
        taught=tuple(taught),
        settings=dict(settings or {}),
        effect=dict(effect or {}),
    )
    return Patch(about, learned.slots, learned.starts, rows, layout)


def restored(
    patch: Patch,
    *,
    storage: str | None = None,
    rank: int = storages.RANK,
    name: str = "",
    taught: Taught = "texts",
    layout: bool = True,
) -> Patch:
    """The same patch in another `storage`, under another `name`, or telling less.

    Rows that are zero are left out, unless a relevance gate counts their reads. `taught` keeps the
    texts, their SHA-256 or nothing, and `layout` the queries and sub-keys.
    """
    if storage is not None:
        patch = _stored(patch, storage, rank)
    texts = patch.about.taught
    if taught == "none":
        texts = None
    elif taught == "hashes" and texts is not None:
        texts = tuple(hashlib.sha256(text.encode()).hexdigest() for text in texts)
    elif taught not in ("texts", "hashes"):
        raise InputError(f"taught={taught!r} must be texts, hashes or none")
    about = dataclasses.replace(patch.about, name=name or patch.about.name, taught=texts)
    return dataclasses.replace(patch, about=about, layout=patch.layout if layout else None)


def _stored(patch: Patch, storage: str, rank: int) -> Patch:
    """Without rows that are zero, which are heard nowhere; but with a relevance gate they say which
    lesson a text is about, and stand behind the other rows of their lesson.
    """
    rows = patch.rows.take(np.arange(len(patch.slots)))
    lessons = patch.lesson_of_rows()
    is_zero = np.logical_not(rows.any(axis=1))
    order = np.lexsort((is_zero, lessons))
    if patch.about.relevance is None:
        order = order[~is_zero[order]]
    sizes = np.bincount(lessons[order], minlength=patch.num_lessons)
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    encoded = storages.encode(rows[order], starts, storage, rank)
    return dataclasses.replace(patch, slots=patch.slots[order], starts=starts, rows=encoded)
