"""The GGUF container: header and tensor data.

The `gguf` package supplies the tables of types and the dequantisation. Its reader makes a numpy
view for each of the hundred thousand strings of a vocabulary (4 s), and reports a short file as a
numpy error, so the header is walked here (0.1 s).
"""

import struct
from pathlib import Path
from typing import Any, NamedTuple

import gguf
import numpy as np

from smem_jax.errors import InputError

_VERSIONS = (2, 3)
_DEFAULT_ALIGNMENT = 32
_BLOCKS_AT_ONCE = 2048  # so that what is expanded stays in the cache of the processor
_STRING, _ARRAY = gguf.GGUFValueType.STRING, gguf.GGUFValueType.ARRAY
_SCALARS: dict[int, str] = {
    gguf.GGUFValueType.UINT8: "B",
    gguf.GGUFValueType.INT8: "b",
    gguf.GGUFValueType.UINT16: "H",
    gguf.GGUFValueType.INT16: "h",
    gguf.GGUFValueType.UINT32: "I",
    gguf.GGUFValueType.INT32: "i",
    gguf.GGUFValueType.FLOAT32: "f",
    gguf.GGUFValueType.BOOL: "?",
    gguf.GGUFValueType.UINT64: "Q",
    gguf.GGUFValueType.INT64: "q",
    gguf.GGUFValueType.FLOAT64: "d",
}


class GGUFFile(NamedTuple):
    """Metadata by key, and raw tensors by name: (uint8 [..., row bytes], quantisation type)."""

    path: Path
    metadata: dict[str, Any]
    tensors: dict[str, tuple[np.ndarray, gguf.GGMLQuantizationType]]


class _Cursor:
    """Reads values one after another; InputError when the file ends too early."""

    def __init__(self, path: Path, buffer: memoryview):
        self.path = path
        self.buffer = buffer
        self.offset = 0

    def take(self, count: int) -> memoryview:
        end = self.offset + count
        if end > len(self.buffer):
            raise InputError(
                f"{self.path}: cut short: the header goes on past the end of the file, "
                f"which has {len(self.buffer)} bytes"
            )
        taken = self.buffer[self.offset : end]
        self.offset = end
        return taken

    def scalar(self, code: str) -> Any:
        return struct.unpack("<" + code, self.take(struct.calcsize("<" + code)))[0]

    def string(self) -> str:
        raw = self.take(self.scalar("Q"))
        try:
            return str(raw, "utf-8")
        except UnicodeDecodeError as error:
            raise InputError(
                f"{self.path}: damaged: text before byte {self.offset} is not UTF-8"
            ) from error

    def value(self, kind: int) -> Any:
        if kind in _SCALARS:
            return self.scalar(_SCALARS[kind])
        if kind == _STRING:
            return self.string()
        if kind != _ARRAY:
            raise InputError(
                f"{self.path}: damaged: unknown value type {kind} before byte {self.offset}"
            )
        item_kind, count = self.scalar("I"), self.scalar("Q")
        if item_kind in _SCALARS:
            code = f"<{_SCALARS[item_kind]}"
            return [
                item
                for (item,) in struct.iter_unpack(code, self.take(count * struct.calcsize(code)))
            ]
        return [self.value(item_kind) for _ in range(count)]


def read(path: Path) -> GGUFFile:
    """Maps a little-endian GGUF file of version 2 or 3 into memory.

    Raises InputError for a file that is something else, is cut short or is damaged.
    """
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty")
    # A plain view, since every slice of a memmap object costs time.
    raw = np.memmap(path, dtype=np.uint8, mode="r").view(np.ndarray)
    cursor = _Cursor(path, memoryview(raw.data))
    if bytes(cursor.take(4)) != b"GGUF":
        raise InputError(f"{path}: not a GGUF file: it does not begin with 'GGUF'")
    version = cursor.scalar("I")
    if version not in _VERSIONS:
        raise InputError(f"{path}: GGUF version {version} is not supported; 2 and 3 are")
    num_tensors, num_fields = cursor.scalar("Q"), cursor.scalar("Q")
    metadata = {}
    for _ in range(num_fields):
        key = cursor.string()
        metadata[key] = cursor.value(cursor.scalar("I"))
    entries = [_entry(cursor) for _ in range(num_tensors)]
    alignment = metadata.get("general.alignment", _DEFAULT_ALIGNMENT)
    start = -(-cursor.offset // alignment) * alignment
    return GGUFFile(path, metadata, _tensors(path, raw, start, entries))


def _entry(cursor: _Cursor) -> tuple[str, tuple[int, ...], gguf.GGMLQuantizationType, int]:
    name = cursor.string()
    # GGUF lists the fastest axis first.
    shape = tuple(cursor.scalar("Q") for _ in range(cursor.scalar("I")))[::-1]
    kind, offset = cursor.scalar("I"), cursor.scalar("Q")
    try:
        return name, shape, gguf.GGMLQuantizationType(kind), offset
    except ValueError as error:
        raise InputError(
            f"{cursor.path}: tensor {name!r} has unknown quantisation type {kind}"
        ) from error


def _tensors(
    path: Path, raw: np.ndarray, start: int, entries: list
) -> dict[str, tuple[np.ndarray, gguf.GGMLQuantizationType]]:
    placed = []
    for name, shape, kind, offset in entries:
        block_size, block_bytes = gguf.GGML_QUANT_SIZES[kind]
        if not shape or shape[-1] % block_size:
            raise InputError(
                f"{path}: damaged: tensor {name!r} has shape {shape}, whose last axis should be a "
                f"multiple of {block_size} for {kind.name}"
            )
        byte_shape = (*shape[:-1], shape[-1] // block_size * block_bytes)
        placed.append((name, kind, byte_shape, start + offset))
    expected = max((begin + _product(shape) for _, _, shape, begin in placed), default=start)
    if expected > raw.size:
        raise InputError(f"{path}: cut short: expected {expected} bytes, got {raw.size}")
    return {
        name: (raw[begin : begin + _product(shape)].reshape(shape), kind)
        for name, kind, shape, begin in placed
    }


def _product(shape: tuple[int, ...]) -> int:
    product = 1
    for size in shape:
        product *= size  # Python integers: a damaged shape must not overflow.
    return product


def dequantize(file: GGUFFile, name: str) -> np.ndarray:
    """Tensor `name` as float32 in its own shape; InputError for a type `gguf` cannot expand."""
    raw, kind = file.tensors[name]
    values, block_bytes = gguf.GGML_QUANT_SIZES[kind]
    expanded = np.empty(raw.size // block_bytes * values, np.float32)
    flat = raw.reshape(-1)
    # `gguf` goes 16 rows at a time, which as rows of a matrix are few: here they are one long row.
    step = _BLOCKS_AT_ONCE * block_bytes
    try:
        for begin in range(0, flat.size, step):
            part = gguf.dequantize(flat[begin : begin + step][None], kind)
            first = begin // block_bytes * values
            expanded[first : first + part.size] = part[0]
    except NotImplementedError as error:
        raise InputError(
            f"{file.path}: tensor {name!r} is stored as {kind.name}, which cannot be dequantised"
        ) from error
    return expanded.reshape(*raw.shape[:-1], raw.shape[-1] // block_bytes * values)
