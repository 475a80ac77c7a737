"""safetensors files of this package's own formats, with a checksum over all that is in them."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from smem_jax.errors import InputError
from smem_jax.models.pretrained import safetensors_file


class Format(NamedTuple):
    """A kind of file.

    Attributes:
      name: that stands in the file, such as 'smem_jax.patch'.
      version: that stands there and is the only one that can be read.
      what: what an error calls it, such as 'a patch'.
      made_by: the command that writes one.
    """

    name: str
    version: str
    what: str
    made_by: str


def write(
    path: Path,
    tensors: Mapping[str, np.ndarray],
    about: str,
    of: Format,
    *,
    is_new: bool = False,
) -> None:
    """Writes tensors and a text about them, all or nothing; see `safetensors_file.write`."""
    metadata = {
        "format": of.name,
        "version": of.version,
        "about": about,
        "sha256": checksum(tensors, about),
    }
    safetensors_file.write(path, tensors, metadata, is_new=is_new)


def read(
    path: Path, of: Format, *, max_header_bytes: int = safetensors_file.MAX_HEADER_BYTES
) -> tuple[dict[str, np.ndarray], str]:
    """The tensors, mapped into memory, and the text that `write` was given.

    Raises InputError, naming the file, for one that is missing, cut short, damaged, of another
    format or of another version.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; `{of.made_by}` writes {of.what}")
    tensors, metadata = safetensors_file.read_stored(path, max_header_bytes=max_header_bytes)
    if metadata.get("format") != of.name:
        raise InputError(f"{path}: not {of.what}; `{of.made_by}` writes one")
    version = metadata.get("version")
    if version != of.version:
        raise InputError(f"{path}: {of.what} of version {version!r}; {of.version!r} can be read")
    about = metadata.get("about", "")
    if metadata.get("sha256") != checksum(tensors, about):
        raise InputError(f"{path}: damaged: its contents are not those of its checksum")
    return tensors, about


def checksum(tensors: Mapping[str, np.ndarray], text: str) -> str:
    """SHA-256 over a text and over all tensors with their names, dtypes and shapes, as hex."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        array = tensors[name]
        digest.update(f"{name} {array.dtype.name} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
