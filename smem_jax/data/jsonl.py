"""JSON lines with errors that name the file and the line."""

import difflib
import gzip
import io
import json
import os
import reprlib
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO, Any, cast

from smem_jax.errors import InputError


def most_unpacked(packed: int) -> int:
    """Bytes that a file of `packed` bytes may unpack to, where texts have 3 to 10 times as many."""
    return 30 * packed + 2**20


def iter_lines(path: str | Path) -> Iterator[tuple[int, str]]:
    """Number (from 1) and text of each line of a UTF-8 file, `.gz` or not, one after another.

    Raises InputError for a file that is missing, damaged or not UTF-8, and for a `.gz` with a line
    of which there is far too much.
    """
    try:
        is_packed = str(path).endswith(".gz")
        most = most_unpacked(os.path.getsize(path)) if is_packed else -1
        binary = gzip.open(path) if is_packed else open(path, "rb")  # noqa: SIM115
        # The -sig drops the mark that some Windows editors put at the start. Its lines end at line
        # breaks alone, not at the other characters that splitlines() knows and JSON allows.
        with binary, io.TextIOWrapper(cast(IO[bytes], binary), encoding="utf-8-sig") as file:
            for number, line in enumerate(iter(lambda: file.readline(most), ""), 1):
                if len(line) == most:
                    raise InputError(f"{path}:{number}: a line of {most:,} characters or more")
                yield number, line.removesuffix("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text ({error})") from error
    except (EOFError, zlib.error) as error:
        raise InputError(f"{path}: cut short or damaged ({error})") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error


def read_lines(path: str | Path) -> list[tuple[int, str]]:
    """Number (from 1) and text of each line that is not blank; see `iter_lines`.

    Raises InputError for a file that cannot be read, and for one that holds no such line.
    """
    lines = [(number, line) for number, line in iter_lines(path) if line.strip()]
    if not lines:
        raise InputError(f"{path}: the file is empty")
    return lines


def iter_objects(path: str | Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """('path:line', object) for each line that is not blank, one after another.

    Raises InputError for a file that cannot be read or is empty, and for a line that is no JSON
    object.
    """
    where = ""
    for number, line in iter_lines(path):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{where}: not JSON ({error})") from error
        if not isinstance(record, dict):
            raise InputError(f"{where}: expected a JSON object, got {type(record).__name__}")
        yield where, record
    if not where:
        raise InputError(f"{path}: the file is empty")


def read_objects(
    path: str | Path, required: Collection[str], optional: Collection[str] = ()
) -> Iterator[tuple[str, dict[str, Any]]]:
    """('path:line', object) for each line that is not blank.

    Raises InputError for a file that cannot be read or is empty, for a line that is no JSON object,
    that lacks a required field, or that has an unknown one.
    """
    known = [*required, *optional]
    for where, record in iter_objects(path):
        # Unknown ones first: a misspelt required field is then named as it was written.
        for name in record:
            if name not in known:
                nearest = difflib.get_close_matches(name, known, 1, cutoff=0)[0]
                raise InputError(f"{where}: unknown field {name!r}; the nearest is {nearest!r}")
        for name in required:
            if name not in record:
                raise InputError(f"{where}: the field {name!r} is missing")
        yield where, record


def text_field(where: str, record: dict[str, Any], name: str) -> str:
    """A field that must be text with something in it, stripped."""
    value = record[name]
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{where}: {name}={reprlib.repr(value)} must be text, and not empty")
    try:
        value.encode()
    except UnicodeEncodeError as error:  # JSON can write half of a surrogate pair.
        raise InputError(f"{where}: {name}={reprlib.repr(value)} is not valid Unicode") from error
    return value.strip()


def list_field(where: str, record: dict[str, Any], name: str) -> tuple[str, ...]:
    """A field that must be a list of such texts; without the field, no texts."""
    value = record.get(name, [])
    if not isinstance(value, list):
        raise InputError(f"{where}: {name}={reprlib.repr(value)} must be a list of texts")
    return tuple(text_field(where, {name: item}, name) for item in value)
