"""Results of many runs as JSON lines, one a run: written by any number of processes, killed or not.

A line carries what a report needs of a run, so that its work directory may be thrown away.
"""

import fcntl
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from smem_jax.errors import InputError
from smem_jax.train import files

# Kept item by item, for intervals over several seeds and between methods.
_ITEMS = (
    "known",
    "nq_f1",
    "wikitext_nll",
    "gsm8k_nll",
    "mmlu_accuracy",
    "trivia_choices_accuracy",
    "untaught_exact",
)


def read(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """('path:line', object) of each whole line; none where the file is missing.

    A last line that a killed process left unfinished is passed over. Raises InputError for any
    other line that is no JSON object.
    """
    if not path.exists():
        return []
    try:
        *whole, last = path.read_bytes().split(b"\n")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    found = []
    for number, line in enumerate(whole, 1):
        if not line.strip():
            continue
        record = _object(line)
        if record is None:
            raise InputError(f"{path}:{number}: expected a JSON object, got {line[:40]!r}")
        found.append((f"{path}:{number}", record))
    record = _object(last)
    return found if record is None else [*found, (f"{path}:{len(whole) + 1}", record)]


def results(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """What `read` gives, each line that of a run; InputError for a line without its name."""
    lines = read(path)
    for where, record in lines:
        if not isinstance(record.get("name"), str):
            raise InputError(f"{where}: no result of a run (the text field 'name' is missing)")
    return lines


def is_done(line: Mapping[str, Any]) -> bool:
    """Whether the line is that of a finished run, and not of a failed one."""
    return line.get("status", "done") == "done"


def append(path: Path, record: Mapping[str, Any]) -> None:
    """Adds a line by one write that has reached the disk when this returns.

    What a killed process left of its last line is dropped first. The lock is for that: while it is
    held, no other process is in the middle of a line.
    """
    line = (json.dumps(record) + "\n").encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # released when the file is closed
        end = os.lseek(descriptor, 0, os.SEEK_END)
        torn = _after_last_break(descriptor, end)
        if _object(torn) is not None:  # whole but for its line break
            line = b"\n" + line
        elif torn:
            end -= len(torn)
            os.ftruncate(descriptor, end)
        if os.write(descriptor, line) != len(line):
            os.ftruncate(descriptor, end)
            raise OSError(f"{path}: the disk has no room for a line of {len(line)} bytes")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def items(workdir: Path) -> dict[str, dict[str, Any]]:
    """Some figures of a stream's work directory item by item: by name, `before` and `after`.

    They are as `pack` writes them; none where a file of the directory is missing. The items of
    `recall_reworded` and `recall_trained` are the lessons of the stream, in its order, without
    those that are not asked so; `before` is right after the lesson, `after` at the end.
    """
    paths = (workdir / "before.npz", workdir / "after.npz", workdir / "matrix.npz")
    if not all(path.is_file() for path in paths):
        return {}
    before, after, matrix = map(files.read_npz, paths)
    pairs = {
        name: (before[name], after[name]) for name in _ITEMS if name in before and name in after
    }
    for kind in ("reworded", "trained"):
        learned, last = matrix[f"learned_{kind}"], matrix[kind][-1]
        asked = np.isfinite(learned) & np.isfinite(last)
        if asked.any():
            pairs[f"recall_{kind}"] = (learned[asked], last[asked])
    return {
        name: {"before": pack(first), "after": pack(second)}
        for name, (first, second) in pairs.items()
    }


def pack(items: np.ndarray) -> str | list[float]:
    """Figures of items, [num_items], as short JSON: digits where all are 0 or 1, else decimals."""
    if np.isin(items, (0, 1)).all():
        return "".join(str(int(item)) for item in items)
    return [round(float(item), 4) for item in items]


def unpack(packed: str | Sequence[float]) -> np.ndarray:
    """What `pack` wrote, float64 [num_items]."""
    return np.array([float(item) for item in packed])


def _object(line: bytes) -> dict[str, Any] | None:
    """The JSON object of a line, None where it is none."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _after_last_break(descriptor: int, end: int) -> bytes:
    """What stands after the last line break of a file of `end` bytes."""
    found = b""
    while end and b"\n" not in found:
        size = min(end, 1 << 16)
        end -= size
        found = os.pread(descriptor, size, end) + found
    return found.rpartition(b"\n")[2]
