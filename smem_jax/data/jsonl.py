"""JSON lines with errors that name the file and the line."""

import difflib
import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from smem_jax.errors import InputError


def read_text_file(path: str | Path) -> str:
    """The text of a UTF-8 file; InputError for one that is missing, unreadable or empty."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text ({error})") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if not text.strip():
        raise InputError(f"{path}: the file is empty")
    return text


def read_objects(
    path: str | Path, required: Collection[str], optional: Collection[str] = ()
) -> Iterator[tuple[str, dict[str, Any]]]:
    """('path:line', object) for each line that is not blank.

    Raises InputError for a file that cannot be read or is empty, for a line that is no JSON object,
    that lacks a required field, or that has an unknown one.
    """
    for number, line in enumerate(read_text_file(path).splitlines(), 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{where}: not JSON ({error})") from error
        if not isinstance(record, dict):
            raise InputError(f"{where}: expected a JSON object, got {type(record).__name__}")
        for name in required:
            if name not in record:
                raise InputError(f"{where}: the field {name!r} is missing")
        known = [*required, *optional]
        for name in record:
            if name not in known:
                near = difflib.get_close_matches(name, known, 1) or known
                raise InputError(f"{where}: unknown field {name!r}; did you mean {near[0]!r}?")
        yield where, record


def text_field(where: str, record: dict[str, Any], name: str) -> str:
    """A field that must be text with something in it, stripped."""
    value = record[name]
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{where}: {name}={value!r} must be text, and not empty")
    return value.strip()


def list_field(where: str, record: dict[str, Any], name: str) -> tuple[str, ...]:
    """A field that must be a list of such texts; without the field, no texts."""
    value = record.get(name, [])
    if not isinstance(value, list):
        raise InputError(f"{where}: {name}={value!r} must be a list of texts")
    return tuple(text_field(where, {name: item}, name) for item in value)
