"""Where documents come from: local text, JSON lines, or a prepared TensorFlow data set."""

import difflib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from smem_jax.data.jsonl import iter_lines, iter_objects, list_field, text_field
from smem_jax.data.render import question_text
from smem_jax.errors import InputError


class Documents(Protocol):
    """Texts by number; `num_threads` read ahead of a stream (0: in the stream's own thread)."""

    num_threads: int

    def __len__(self) -> int: ...

    def __getitem__(self, number: Any) -> str: ...


class _InMemory(list[str]):
    num_threads = 0


def open_documents(source: str) -> Documents:
    """The documents of a source:

    - `text:FILE`: UTF-8 text, one document a line; blank lines are nothing;
    - `blocks:FILE`: UTF-8 text, documents of several lines with blank lines between them;
    - `jsonl:FILE:FIELD`: JSON lines, the text in one field of each;
    - `qa:FILE`: JSON lines with `question` and the right answer first in `answer`, `answers` or
      `aliases` (a text or a list), as 'Question: ...' and 'Answer: ...' on two lines;
    - `tfds:NAME:SPLIT@DIR` or `tfds:NAME/CONFIG:SPLIT@DIR`: a data set that `smem data` or
      TensorFlow Datasets prepared in the directory DIR as ArrayRecord files.

    Files of the first four may be `.gz`, and are held in memory, each process the whole of them;
    for what is too large, `smem data` makes the last form. Raises InputError for an unknown form,
    for a file or directory that is missing, damaged or partly written, and for malformed lines,
    which it names.
    """
    kind, _, rest = source.partition(":")
    if kind == "tfds":
        return _prepared(rest)
    return _InMemory(iter_documents(source))


def iter_documents(source: str) -> Iterator[str]:
    """The documents of a source that is a local file (see `open_documents`), one after another."""
    kind, _, rest = source.partition(":")
    if kind not in _READERS or not rest:
        nearest = difflib.get_close_matches(kind, _FORMS, 1, cutoff=0.0)[0]
        raise InputError(
            f"source {source!r} must be one of {', '.join(_FORMS.values())}; "
            f"the nearest is {_FORMS[nearest]}"
        )
    empty = True
    for text in _READERS[kind](rest):
        empty = False
        yield text
    if empty:
        raise InputError(f"{rest}: the file is empty")


def answers(where: str, record: dict[str, Any]) -> tuple[str, ...]:
    """The accepted answers in `answer`, `answers` or `aliases`, the right one first."""
    for name in ("answer", "answers", "aliases"):
        if isinstance(record.get(name), str):
            return (text_field(where, record, name),)
        if record.get(name):
            return list_field(where, record, name)
    raise InputError(f"{where}: the field 'answer', 'answers' or 'aliases' must hold an answer")


def field(where: str, record: dict[str, Any], name: str) -> str:
    """A field that has to be there and to hold text."""
    if name not in record:
        there = ", ".join(map(repr, record)) or "none"
        raise InputError(f"{where}: the field {name!r} is missing; there are {there}")
    return text_field(where, record, name)


def _text(rest: str) -> Iterator[str]:
    return (line for _, line in iter_lines(rest) if line.strip())


def _blocks(rest: str) -> Iterator[str]:
    block: list[str] = []
    for _, line in iter_lines(rest):
        if line.strip():
            block.append(line)
        elif block:
            yield "\n".join(block)
            block = []
    if block:
        yield "\n".join(block)


def _jsonl(rest: str) -> Iterator[str]:
    path, _, name = rest.rpartition(":")
    if not path or not name:
        raise InputError(f"source 'jsonl:{rest}' must be {_FORMS['jsonl']}")
    return (field(where, record, name) for where, record in iter_objects(path))


def _qa(rest: str) -> Iterator[str]:
    for where, record in iter_objects(rest):
        question = field(where, record, "question")
        yield question_text(question, answers(where, record)[0])


def _prepared(rest: str) -> Documents:
    found = re.fullmatch(r"([\w/.-]+):([^@]+)@(.+)", rest)
    if not found:
        raise InputError(f"source 'tfds:{rest}' must be {_FORMS['tfds']}")
    from smem_jax.data.tfds.read import PreparedDocuments

    name, split, directory = found.groups()
    return PreparedDocuments(name, split, Path(directory).expanduser())


_READERS: dict[str, Callable[[str], Iterator[str]]] = {
    "text": _text,
    "blocks": _blocks,
    "jsonl": _jsonl,
    "qa": _qa,
}
_FORMS = {
    "text": "text:FILE",
    "blocks": "blocks:FILE",
    "jsonl": "jsonl:FILE:FIELD",
    "qa": "qa:FILE",
    "tfds": "tfds:NAME[/CONFIG]:SPLIT@DIR",
}
