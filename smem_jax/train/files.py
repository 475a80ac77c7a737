"""Files of a work directory, written all or not at all."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np


def write_text(path: Path, text: str) -> None:
    """Replaces a text file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_text(text)
    os.replace(partial, path)


def write_json(path: Path, value: Any) -> None:
    """Replaces a JSON file."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def write_npz(path: Path, **arrays: Any) -> None:
    """Replaces a `.npz` file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    with partial.open("wb") as file:
        np.savez(file, **arrays)
    os.replace(partial, path)


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a `.npz` file."""
    with np.load(path) as archive:
        return dict(archive)


def append_line(path: Path, record: dict[str, Any]) -> None:
    """Adds a JSON line."""
    with path.open("a") as file:
        file.write(json.dumps(record) + "\n")


def keep_lines(path: Path, count: int) -> None:
    """Drops all but the first `count` lines, those of steps that a resumed run takes anew."""
    if path.is_file():
        lines = path.read_text().splitlines(keepends=True)
        write_text(path, "".join(lines[:count]))


def read_lines(path: Path) -> Iterable[dict[str, Any]]:
    """The JSON lines of a file."""
    return [json.loads(line) for line in path.read_text().splitlines()]
