"""The safetensors container, read and written with numpy.

The `safetensors` package has no bfloat16 for numpy and does not say how much of a short file is
missing; the format is a length, a JSON header and raw bytes.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from smem_jax import atomic
from smem_jax.errors import InputError

_LENGTH_BYTES = 8
MAX_HEADER_BYTES = 100_000_000  # that of the format
_TOO_LARGE = 2**48
_FLOATS = {"F32": "<f4", "F16": "<f2", "BF16": np.dtype(ml_dtypes.bfloat16)}
_DTYPES = {
    name: np.dtype(dtype)
    for name, dtype in {**_FLOATS, "I32": "<i4", "I8": "i1", "U8": "u1"}.items()
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


class Stored(NamedTuple):
    """What a file holds: tensors as they are stored, mapped into memory, and its `metadata`."""

    tensors: dict[str, np.ndarray]
    metadata: dict[str, str]


def read(path: Path) -> dict[str, np.ndarray]:
    """Every tensor of the file as float32, by name.

    Raises InputError for a file that is cut short or damaged, and for a data type other than
    float32, float16 and bfloat16.
    """
    return {
        name: np.asarray(tensor, np.float32)
        for name, tensor in read_stored(path, dtypes=tuple(_FLOATS)).tensors.items()
    }


def read_stored(
    path: Path,
    *,
    dtypes: tuple[str, ...] = tuple(_DTYPES),
    max_header_bytes: int = MAX_HEADER_BYTES,
) -> Stored:
    """The tensors and the metadata of a file; see `read`. Nothing is read that is not asked for.

    Raises InputError also for a header of more than `max_header_bytes`.
    """
    size = path.stat().st_size
    if size < _LENGTH_BYTES:
        raise InputError(f"{path}: cut short: the file has {size} bytes and no header")
    raw = np.memmap(path, dtype=np.uint8, mode="r").view(np.ndarray)
    header_end = _LENGTH_BYTES + int.from_bytes(raw[:_LENGTH_BYTES].tobytes(), "little")
    if header_end > size:
        raise InputError(
            f"{path}: cut short: the header should end at byte {header_end}, the file has {size}"
        )
    if header_end > max_header_bytes:
        raise InputError(
            f"{path}: the header has {header_end} bytes; {max_header_bytes} at most are right"
        )
    header, metadata = _header(path, raw[_LENGTH_BYTES:header_end].tobytes())
    expected = header_end + max((entry["data_offsets"][1] for entry in header.values()), default=0)
    if expected > size:
        raise InputError(f"{path}: cut short: expected {expected} bytes, got {size}")
    _check_tiled(path, header, size - header_end)
    data = raw[header_end:]
    tensors = {name: _tensor(path, name, entry, data, dtypes) for name, entry in header.items()}
    return Stored(tensors, metadata)


def write(
    path: Path,
    tensors: Mapping[str, np.ndarray],
    metadata: Mapping[str, str],
    *,
    is_new: bool = False,
) -> None:
    """Writes a file, all of it or nothing.

    Tensors are float32, float16, bfloat16, int32, int8 or uint8 (KeyError for any other). Where
    `is_new`, a file that is there already is left as it is, whoever wrote it: FileExistsError.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name, tensor in tensors.items():
        begin, end = end, end + tensor.nbytes
        header[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # so that the data are aligned
    with atomic.replaced(path, is_new=is_new) as partial, partial.open("wb") as file:
        file.write(len(text).to_bytes(_LENGTH_BYTES, "little") + text)
        for tensor in tensors.values():
            file.write(np.ascontiguousarray(tensor).view(np.uint8).data)


def _header(path: Path, text: bytes) -> tuple[dict[str, dict], dict[str, str]]:
    try:
        header = json.loads(text)
        metadata = header.pop("__metadata__", {})
        if not all(isinstance(value, str) for value in metadata.values()):
            raise ValueError("metadata that are no text")
        for entry in header.values():
            begin, end = entry["data_offsets"]
            sizes = [begin, end, *entry["shape"]]
            if not all(type(size) is int and 0 <= size < _TOO_LARGE for size in sizes):
                raise ValueError("bad sizes")
            if begin > end:
                raise ValueError("bad offsets")
            entry["dtype"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path}: damaged: the safetensors header cannot be read") from error
    return header, metadata


def _check_tiled(path: Path, header: dict[str, dict], num_bytes: int) -> None:
    """Raises InputError unless the tensors lie one behind the other, without gaps or overlaps."""
    end = 0
    for begin, next_end in sorted(entry["data_offsets"] for entry in header.values()):
        if begin != end:
            raise InputError(f"{path}: damaged: a tensor begins at byte {begin}, not at {end}")
        end = next_end
    if end != num_bytes:
        raise InputError(f"{path}: damaged: {num_bytes - end} bytes lie behind the tensors")


def _tensor(
    path: Path, name: str, entry: dict, data: np.ndarray, dtypes: tuple[str, ...]
) -> np.ndarray:
    if entry["dtype"] not in dtypes:
        raise InputError(
            f"{path}: tensor {name!r} is stored as {entry['dtype']}; {', '.join(dtypes)} are "
            "supported"
        )
    dtype = _DTYPES[entry["dtype"]]
    begin, end = entry["data_offsets"]
    expected = math.prod(entry["shape"]) * dtype.itemsize
    if end - begin != expected:
        raise InputError(
            f"{path}: damaged: tensor {name!r} of shape {tuple(entry['shape'])} needs {expected} "
            f"bytes, its place has {end - begin}"
        )
    try:
        return data[begin:end].view(dtype).reshape(entry["shape"])
    except ValueError as error:  # sizes that numpy has no array for
        raise InputError(f"{path}: damaged: the shape of {name!r} ({error})") from error
