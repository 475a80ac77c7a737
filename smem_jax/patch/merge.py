"""Several patches made one, and two compared.

Patches that were taught apart may claim the same slot. A rule says what becomes of it:

'first' or 'last'  the row of the first, or last, patch that claims it, in the order given
'sum'              all rows, added up; it belongs to the lesson of the first
'move'             the row of the first; each other claim goes to the free slot that is nearest by
                   its sub-keys, where some of what read the old one reads it, too
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from smem_jax.errors import InputError
from smem_jax.patch import storage as storages
from smem_jax.patch import together
from smem_jax.patch.make import by_lesson
from smem_jax.patch.patch import Layout, Patch

Rule = Literal["first", "last", "sum", "move"]


class Merged(NamedTuple):
    """One patch of several, with the slots that more than one claimed, int32, ascending."""

    patch: Patch
    contested: np.ndarray


def merge(
    patches: Sequence[Patch], rule: Rule = "first", *, name: str, storage: str = "float32"
) -> Merged:
    """One patch that does what all do; see the rules above.

    Raises InputError for fewer than two patches, those of different base models, queries, sub-keys
    or gates, another rule, and 'move' where no patch has sub-keys or no slot is free.
    """
    if rule not in get_args(Rule):
        raise InputError(f"rule={rule!r} must be one of {', '.join(get_args(Rule))}")
    if len(patches) < 2:
        raise InputError(f"{len(patches)} patch is given; a merge needs two")
    together.check(patches)
    first = patches[0].about
    if len({patch.about.relevance for patch in patches}) > 1:
        raise InputError("patches with a relevance gate and without one cannot be one patch")
    layout = next((patch.layout for patch in patches if patch.layout is not None), None)
    slots = np.concatenate([patch.slots for patch in patches])
    rows = np.concatenate([patch.rows.take(np.arange(len(patch.slots))) for patch in patches])
    lessons = _lessons(patches)
    # Of each slot, the claims in the order of the patches: equal slots stay in order.
    order = np.argsort(slots, kind="stable")
    sorted_slots = slots[order]
    is_first = np.diff(sorted_slots, prepend=-1) != 0
    contested = np.unique(sorted_slots[~is_first])
    kept = np.diff(sorted_slots, append=-1) != 0 if rule == "last" else is_first
    if rule == "sum":
        np.add.at(rows, order[is_first][np.cumsum(is_first)[~is_first] - 1], rows[order[~is_first]])
    if rule == "move":
        moving = order[~is_first]
        slots[moving] = _near_free_slots(slots[moving], slots, together.layout(patches))
        kept = np.ones_like(kept)
    chosen = order[kept]
    learned = by_lesson(slots[chosen], lessons[chosen], rows[chosen])
    num_lessons = sum(patch.num_lessons for patch in patches)
    # Of all lessons, those that have lost every row among them.
    starts = np.searchsorted(np.sort(lessons[chosen]), np.arange(num_lessons + 1))
    about = dataclasses.replace(
        first,
        name=name,
        taught=_taught(patches),
        settings={"merged": [patch.about.name for patch in patches], "rule": rule},
        effect={},
    )
    encoded = storages.encode(learned.rows, starts, storage)
    merged = Patch(about, learned.slots, starts.astype(np.int32), encoded, layout)
    return Merged(merged, contested.astype(np.int32))


def diff(a: Patch, b: Patch) -> dict[str, Any]:
    """How two patches differ: what only one has, and how alike the rows of both are.

    `cosine` is the mean over shared slots whose rows are not zero, None where there is none.
    """
    shared, in_a, in_b = np.intersect1d(a.slots, b.slots, return_indices=True)
    if a.rows.shape()[1] != b.rows.shape()[1]:  # of models that have nothing to do with each other
        in_a = in_b = in_a[:0]
    rows_a, rows_b = a.rows.take(in_a), b.rows.take(in_b)
    rows_b = rows_b.reshape(rows_a.shape)
    norms = np.linalg.norm(rows_a, axis=1) * np.linalg.norm(rows_b, axis=1)
    products = (rows_a * rows_b).sum(axis=1)[norms > 0] / norms[norms > 0]
    taught_a, taught_b = set(a.about.taught or ()), set(b.about.taught or ())
    return {
        "same_base": a.about.base_fingerprint == b.about.base_fingerprint,
        "same_layout": a.about.layout_fingerprint == b.about.layout_fingerprint,
        "slots_only_a": len(a.slots) - len(shared),
        "slots_only_b": len(b.slots) - len(shared),
        "slots_shared": len(shared),
        "largest_difference": float(np.abs(rows_a - rows_b).max(initial=0)),
        "cosine": float(products.mean()) if products.size else None,
        "taught_only_a": sorted(taught_a - taught_b),
        "taught_only_b": sorted(taught_b - taught_a),
        "taught_both": sorted(taught_a & taught_b),
        "settings": _differing(a.about.settings, b.about.settings),
    }


def _differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, list[Any]]:
    return {
        name: [a.get(name), b.get(name)] for name in sorted({*a, *b}) if a.get(name) != b.get(name)
    }


def _lessons(patches: Sequence[Patch]) -> np.ndarray:
    """The number of the lesson of each row, over all patches."""
    found, before = [], 0
    for patch in patches:
        found.append(patch.lesson_of_rows() + before)
        before += patch.num_lessons
    return np.concatenate(found)


def _taught(patches: Sequence[Patch]) -> tuple[str, ...] | None:
    """What each lesson taught; where some patches do not tell, what the others do."""
    if all(p.about.taught is None for p in patches):
        return None
    if all(len(p.about.taught or ()) == p.num_lessons for p in patches):
        return tuple(text for p in patches for text in p.about.taught or ())
    return tuple(text for p in patches for text in p.about.taught or p.lessons())


def _near_free_slots(moving: np.ndarray, claimed: np.ndarray, layout: Layout) -> np.ndarray:
    """A free slot for each of `moving`: one sub-key is the same, the other as like as can be."""
    keys = layout.sub_keys / np.maximum(
        np.linalg.norm(layout.sub_keys, axis=-1, keepdims=True), 1e-12
    )
    num_sub_keys = keys.shape[2]
    is_free = np.ones(num_sub_keys**2, bool)
    is_free[claimed] = False
    found = np.empty_like(moving)
    for place, slot in enumerate(moving.tolist()):
        half = divmod(slot, num_sub_keys)
        everywhere = np.arange(num_sub_keys)
        candidates = np.concatenate(
            [everywhere * num_sub_keys + half[1], half[0] * num_sub_keys + everywhere]
        )
        alike = np.concatenate(
            [np.einsum("hd,hnd->n", keys[:, side, half[side]], keys[:, side]) for side in (0, 1)]
        )
        alike[~is_free[candidates]] = -np.inf
        best = int(np.argmax(alike))
        if alike[best] == -np.inf:
            raise InputError(f"rule='move': no slot near slot {slot} is free")
        found[place] = candidates[best]
        is_free[candidates[best]] = False
    return found
