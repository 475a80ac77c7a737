"""Patches as files (`smem_jax.models.pretrained.sealed_file`)."""

import dataclasses
import json
import reprlib
from pathlib import Path
from typing import Any

import numpy as np

from smem_jax.errors import InputError
from smem_jax.memory.relevance import Relevance
from smem_jax.models.pretrained import sealed_file
from smem_jax.patch import storage
from smem_jax.patch.patch import About, Layout, Patch

_FORMAT = sealed_file.Format("smem_jax.patch", "1", "a memory patch", "smem patch save")
_MAX_HEADER_BYTES = 2**24
_ROWS = "rows."  # before the names of the arrays of rows
_MAX_SLOTS = 2**31 - 1


def save(patch: Patch, path: Path, *, is_new: bool = False) -> None:
    """Writes a patch, all of it or nothing; FileExistsError where `is_new` and a file is there."""
    tensors = {"slots": patch.slots.astype(np.int32), "starts": patch.starts.astype(np.int32)}
    tensors |= {f"{_ROWS}{name}": array for name, array in patch.rows.arrays.items()}
    if patch.layout is not None:
        tensors |= patch.layout._asdict()
    about = json.dumps(dataclasses.asdict(patch.about), sort_keys=True)
    sealed_file.write(path, tensors, about, _FORMAT, is_new=is_new)


def load(path: Path) -> Patch:
    """Reads what `save` wrote; rows stay on disk until they are asked for.

    Raises InputError, naming the file, for one that is missing, cut short, damaged, of another
    version or no patch, that has a slot out of range or twice, or a number that is not finite.
    """
    tensors, about = sealed_file.read(path, _FORMAT, max_header_bytes=_MAX_HEADER_BYTES)
    try:
        return _patch(tensors, _about(about))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _patch(tensors: dict[str, np.ndarray], about: About) -> Patch:
    tensors = dict(tensors)
    for name, tensor in tensors.items():
        if np.issubdtype(tensor.dtype, np.integer):
            continue
        if not np.isfinite(tensor.astype(np.float32)).all():
            raise InputError(f"{name} has NaN or infinity in it")
    parts = [tensors.pop(name, None) for name in Layout._fields]
    whole = [part for part in parts if part is not None]
    if len(whole) not in (0, len(parts)) or any(part.dtype != np.float32 for part in whole):
        raise InputError("queries and sub-keys must be three float32 arrays, or left out")
    layout = Layout(*whole) if whole else None
    try:
        slots, starts = (_integers(tensors.pop(name)) for name in ("slots", "starts"))
    except KeyError as error:
        raise InputError(f"{error} are missing") from error
    if starts.ndim != 1 or not len(starts) or (starts < 0).any() or (np.diff(starts) < 0).any():
        raise InputError("the lessons' starts do not ascend")
    rows = storage.from_arrays({n.removeprefix(_ROWS): a for n, a in tensors.items()}, starts)
    return Patch(about, slots, starts, rows, layout)


def _integers(array: np.ndarray) -> np.ndarray:
    if array.dtype != np.int32:
        raise InputError(f"slots and starts must be int32, not {array.dtype}")
    return np.array(array)


def _about(text: str) -> About:
    try:
        fields: dict[str, Any] = json.loads(text)
        for name, value in fields.items():
            if not _is_right(name, value):
                raise InputError(f"{name}={reprlib.repr(value)} cannot be right")
        relevance, taught = fields.pop("relevance"), fields.pop("taught")
        return About(
            **fields,
            relevance=None if relevance is None else Relevance(**relevance),
            taught=None if taught is None else tuple(taught),
        )
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"what it says of itself cannot be read ({error})") from error


def _is_right(name: str, value: Any) -> bool:
    """Whether a field of `About` has a value of its type, and sizes that can be meant."""
    if name in ("relevance", "taught") and value is None:
        return True
    if name == "relevance":
        return isinstance(value, dict) and all(type(size) is int for size in value.values())
    if name == "taught":
        return isinstance(value, list) and all(isinstance(text, str) for text in value)
    if name == "memory":
        sizes = [value.get("num_slots"), value.get("block")] if isinstance(value, dict) else [None]
        return all(type(size) is int and 0 <= size <= _MAX_SLOTS for size in sizes)
    return isinstance(value, dict if name in ("settings", "effect") else str)


def summary(patch: Patch) -> dict[str, Any]:
    """What a patch holds and says of itself, for JSON."""
    num_rows, value_dim = patch.rows.shape()
    arrays = patch.rows.arrays
    return {
        **dataclasses.asdict(patch.about),
        "rows": num_rows,
        "width": value_dim,
        "lessons": patch.num_lessons,
        "storage": {name: f"{a.dtype.name} {list(a.shape)}" for name, a in arrays.items()},
        "has_layout": patch.layout is not None,
    }
