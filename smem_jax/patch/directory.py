"""Patches of a directory: what a run learned there, and what was applied to it since.

`DIR/memory.safetensors` is what a run learned. Each patch that is applied becomes
`DIR/patches/NAME.safetensors`: put there as a whole or not at all, never over another one, and
taken away as one. Several processes may add patches to a directory at once.
"""

import contextlib
import dataclasses
import itertools
from collections.abc import Collection
from pathlib import Path

from smem_jax.errors import InputError
from smem_jax.patch import file, together
from smem_jax.patch.patch import Patch

LEARNED = "memory.safetensors"
_APPLIED, _SUFFIX = "patches", ".safetensors"


def paths(directory: Path) -> list[Path]:
    """The files of all patches of a directory, that of its own run first."""
    own = directory / LEARNED
    return [*([own] if own.is_file() else []), *_applied(directory)]


def of(directory: Path) -> list[Patch]:
    """All patches of a directory, that of its own run first."""
    return [file.load(path) for path in paths(directory)]


def place(directory: Path, name: str) -> Path:
    """Where the patch of a name is, once it is applied to a directory."""
    return directory / _APPLIED / f"{name}{_SUFFIX}"


def apply(path: Path, directory: Path) -> Patch:
    """Adds the patch in a file to a directory, which need not be there; returns it.

    Raises InputError, and changes nothing, where `path` is no good patch, or may not be on one
    model with those that are there (`smem_jax.patch.together`).
    """
    patch = file.load(path)
    _check_directory(directory)
    together.check([*of(directory), patch])
    target = place(directory, patch.about.name)
    try:
        file.save(patch, target, is_new=True)
    except FileExistsError as error:
        raise InputError(f"{target} is there already, and has another patch in it") from error
    return patch


def add(patch: Patch, directory: Path, taken: Collection[str] = ()) -> Patch:
    """Adds a patch to a directory under a name of its own; returns it with that.

    The name is the present one and the first number that is free: `facts_1`, then `facts_2`. None
    there has it, nor is it among `taken`. Raises InputError, and changes nothing, for a patch that
    may not be on one model with those that are there.
    """
    _check_directory(directory)
    while True:
        there = of(directory)
        used = {one.about.name for one in there}.union(taken, (p.stem for p in _applied(directory)))
        names = (f"{patch.about.name}_{number}" for number in itertools.count(1))
        name = next(name for name in names if name not in used)
        named = dataclasses.replace(patch, about=dataclasses.replace(patch.about, name=name))
        together.check([*there, named])
        with contextlib.suppress(FileExistsError):  # someone else was faster: the next number
            file.save(named, place(directory, name), is_new=True)
            return named


def _check_directory(directory: Path) -> None:
    for folder in (directory, directory / _APPLIED):
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder} is a file; a directory is right")


def revert(name: str, directory: Path) -> None:
    """Takes an applied patch away, a damaged one, too; InputError where none has that name."""
    found = {_name(path): path for path in _applied(directory)}
    if name not in found:
        there = ", ".join(found) or "none"
        raise InputError(f"{directory}: no patch {name!r} is applied; these are: {there}")
    found[name].unlink()


def _name(path: Path) -> str:
    """The name of a patch; that of its file where it is damaged."""
    try:
        return file.load(path).about.name
    except InputError:
        return path.stem


def base(directory: Path) -> str:
    """The base model that a directory has in it, as those of `smem export` do; else ''."""
    return str(directory) if (directory / "model.safetensors").is_file() else ""


def _applied(directory: Path) -> list[Path]:
    return sorted((directory / _APPLIED).glob(f"*{_SUFFIX}"))
