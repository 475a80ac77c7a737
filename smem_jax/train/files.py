"""Files of a work directory, written all or not at all."""

import io
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from smem_jax import atomic
from smem_jax.errors import InputError

LOCK = ".lock"  # in a work directory; stays there


def write_json(path: Path, value: Any) -> None:
    """Replaces a JSON file."""
    atomic.write_text(path, json.dumps(value, indent=2) + "\n")


def write_npz(path: Path, **arrays: Any) -> None:
    """Replaces a `.npz` file."""
    with atomic.replaced(path) as partial, partial.open("wb") as file:
        np.savez(file, **arrays)


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays, not to be changed, that `write_npz` wrote; InputError where they are damaged."""
    try:
        size = path.stat().st_size
        with zipfile.ZipFile(path) as archive:
            return {
                member.filename.removesuffix(".npy"): _array(archive, member, size)
                for member in archive.infolist()
            }
    except Exception as error:  # Whatever a damaged archive leads to.
        why = " ".join(str(error).split())
        raise InputError(f"{path}: damaged, remove it to have it made anew ({why})") from error


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo, most: int) -> np.ndarray:
    """Unlike numpy's own reader, this makes no array that is larger than what is there."""
    if member.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{member.filename} is compressed")
    if max(member.compress_size, member.file_size) > most:  # zipfile would make room for that
        raise ValueError(f"{member.filename} is longer than the file")
    content = archive.read(member)
    file = io.BytesIO(content)
    np.lib.format.read_magic(file)
    shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(file)
    return np.frombuffer(content, dtype, offset=file.tell()).reshape(
        shape, order="F" if is_fortran else "C"
    )


def is_new(workdir: Path) -> bool:
    """Whether a work directory is not there, or has nothing in it but its lock.

    Nor does a file count that was not written to its end.
    """
    return not workdir.exists() or (
        workdir.is_dir()
        and all(path.name == LOCK or atomic.is_partial(path) for path in workdir.iterdir())
    )


def empty(workdir: Path, last: str) -> None:
    """Removes what a run has left, the file `last`, which says whose it is, after all others.

    Cut off at any moment, it can be called again, and what is left is never taken for a run to go
    on with. The lock stays, since the caller has it.
    """
    dropped = workdir / ".dropped"
    if (workdir / "checkpoints").exists():
        _remove(dropped)
        (workdir / "checkpoints").rename(dropped)  # at once, unlike a removal
    (workdir / "summary.json").unlink(missing_ok=True)  # which says that a run is finished
    for path in workdir.iterdir():
        if path.name not in (LOCK, last):
            _remove(path)
    (workdir / last).unlink(missing_ok=True)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def append_line(path: Path, record: dict[str, Any]) -> None:
    """Adds a JSON line."""
    with path.open("a") as file:
        file.write(json.dumps(record) + "\n")


def keep_lines(path: Path, count: int) -> None:
    """Drops all but the first `count` lines, those of steps that a resumed run takes anew."""
    if path.is_file():
        lines = path.read_bytes().splitlines(keepends=True)
        with atomic.replaced(path) as partial:
            partial.write_bytes(b"".join(lines[:count]))
