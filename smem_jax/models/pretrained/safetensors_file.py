"""The safetensors container, read with numpy.

The `safetensors` package has no bfloat16 for numpy and does not say how much of a short file is
missing; the format is a length, a JSON header and raw bytes.
"""

import json
import math
from pathlib import Path

import numpy as np

from smem_jax.errors import InputError

_LENGTH_BYTES = 8
# bfloat16 is the upper half of a float32.
_DTYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}


def read(path: Path) -> dict[str, np.ndarray]:
    """Every tensor of the file as float32, by name.

    Raises InputError for a file that is cut short or damaged, and for a data type other than
    float32, float16 and bfloat16.
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
    header = _header(path, raw[_LENGTH_BYTES:header_end].tobytes())
    expected = header_end + max((entry["data_offsets"][1] for entry in header.values()), default=0)
    if expected > size:
        raise InputError(f"{path}: cut short: expected {expected} bytes, got {size}")
    return {name: _tensor(path, name, entry, raw[header_end:]) for name, entry in header.items()}


def _header(path: Path, text: bytes) -> dict[str, dict]:
    try:
        header = json.loads(text)
        header.pop("__metadata__", None)
        for entry in header.values():
            begin, end = entry["data_offsets"]
            if not 0 <= begin <= end or not all(isinstance(size, int) for size in entry["shape"]):
                raise ValueError("bad offsets or shape")
            entry["dtype"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: damaged: the safetensors header cannot be read") from error
    return header


def _tensor(path: Path, name: str, entry: dict, data: np.ndarray) -> np.ndarray:
    if entry["dtype"] not in _DTYPES:
        raise InputError(
            f"{path}: tensor {name!r} is stored as {entry['dtype']}; "
            f"{', '.join(_DTYPES)} are supported"
        )
    dtype = np.dtype(_DTYPES[entry["dtype"]])
    begin, end = entry["data_offsets"]
    expected = math.prod(entry["shape"]) * dtype.itemsize
    if end - begin != expected:
        raise InputError(
            f"{path}: damaged: tensor {name!r} of shape {tuple(entry['shape'])} needs {expected} "
            f"bytes, its place has {end - begin}"
        )
    stored = data[begin:end].view(dtype).reshape(entry["shape"])
    if entry["dtype"] == "BF16":
        return (stored.astype(np.uint32) << 16).view(np.float32)
    return np.asarray(stored, dtype=np.float32)
