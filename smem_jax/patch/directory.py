"""Patches of a directory: what a run learned there, and what was applied to it since.

`DIR/memory.safetensors` is what a run learned. Each patch that is applied becomes
`DIR/patches/NAME.safetensors`: put there as a whole or not at all, and taken away as one.
"""

from pathlib import Path

from smem_jax.errors import InputError
from smem_jax.patch import file
from smem_jax.patch.patch import Patch, check_fits

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

    Raises InputError, and changes nothing, where `path` is no good patch, a patch of that name or
    with these contents is there, or one of another base model or other queries and sub-keys.
    """
    patch = file.load(path)
    if directory.exists() and not directory.is_dir():
        raise InputError(f"{directory} is a file; a directory is right")
    there = of(directory)
    for other in there:
        about = other.about
        if patch.about.name == about.name or patch.identity == other.identity:
            raise InputError(f"{path}: {directory} has this patch already, as {about.name!r}")
        check_fits(patch, about.base_fingerprint, about.layout_fingerprint)
        if None not in (patch.about.relevance, about.relevance) and (
            patch.about.relevance != about.relevance
        ):
            raise InputError(
                f"{path}: has the relevance gate {patch.about.relevance}, "
                f"{about.name!r} has {about.relevance}"
            )
    file.save(patch, place(directory, patch.about.name))
    return patch


def revert(name: str, directory: Path) -> None:
    """Takes an applied patch away; InputError where there is none of that name."""
    found = {path.name.removesuffix(_SUFFIX): path for path in _applied(directory)}
    if name not in found:
        there = ", ".join(found) or "none"
        raise InputError(f"{directory}: no patch {name!r} is applied; these are: {there}")
    found[name].unlink()


def _applied(directory: Path) -> list[Path]:
    return sorted((directory / _APPLIED).glob(f"*{_SUFFIX}"))
