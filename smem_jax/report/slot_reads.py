"""What `slot_reads.json` says, read back: which trained slots tokens read, and what else does."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from smem_jax.data.jsonl import read_lines
from smem_jax.errors import InputError

# What JSON of another form gives rise to below.
_DAMAGED = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)


class Token(NamedTuple):
    """A token of a wording.

    Attributes:
      text: with the space before it; '' for the first part of a character that takes several.
      share: of its read weight, what goes to trained slots.
      reads: how many of its reads do.
      slots: the trained slots that weigh most, each with its share.
    """

    text: str
    share: float
    reads: int
    slots: list[tuple[int, float]]


class Row(NamedTuple):
    """A wording of a fact with its answer; `kind` is 'trained' or 'reworded'."""

    fact: str
    question: str
    answer: str
    kind: str
    tokens: list[Token]


class Slot(NamedTuple):
    """What reads a slot.

    Attributes:
      documents: how many background documents.
      num_tokens: how many tokens of the rows.
      tokens: (row, place) of those that do most.
      snippets: of ordinary text: what stands before a token that reads it, it, and what follows.
    """

    documents: int
    num_tokens: int
    tokens: list[tuple[int, int]]
    snippets: list[tuple[str, str, str]]


class Frequency(NamedTuple):
    """How many slots as many background documents read as `least`, up to the next one."""

    least: list[int]
    all: list[int]
    trained: list[int]


class SlotReads(NamedTuple):
    """All of the file; `slots` has each slot that a token lists."""

    documents: int
    reads_per_token: int
    frequency: Frequency
    rows: list[Row]
    slots: dict[int, Slot]


def read_slot_reads(path: Path) -> SlotReads | None:
    """The file that `smem teach` writes; None where it is missing, as older runs leave it.

    Raises InputError where it is damaged.
    """
    if not path.is_file():
        return None
    text = "\n".join(line for _, line in read_lines(path))
    try:
        return _slot_reads(json.loads(text))
    except _DAMAGED as error:
        raise InputError(f"{path}: not what `smem teach` writes ({error!r:.80})") from error


def _slot_reads(given: dict[str, Any]) -> SlotReads:
    frequency = given["document_frequency"]
    found = SlotReads(
        int(given["documents"]),
        int(given["reads_per_token"]),
        Frequency(*(list(map(int, frequency[name])) for name in ("from", "all", "trained"))),
        [_row(row) for row in given["rows"]],
        {int(number): _slot(slot) for number, slot in given["slots"].items()},
    )
    if len({*map(len, found.frequency)}) != 1:
        raise ValueError("document_frequency: its lists differ in length")
    if not (found.rows and all(row.tokens for row in found.rows)):
        raise ValueError("rows: a row without a token, or no row at all")
    listed = {number for row in found.rows for token in row.tokens for number, _ in token.slots}
    if not listed <= set(found.slots):
        raise ValueError(f"slot {min(listed - set(found.slots))} is missing")
    for number, slot in found.slots.items():
        for row_number, place in slot.tokens:
            if min(row_number, place) < 0 or place >= len(found.rows[row_number].tokens):
                raise ValueError(f"slot {number}: no token {[row_number, place]}")
    return found


def _row(given: dict[str, Any]) -> Row:
    tokens = [
        Token(str(text), _share(share), int(reads), [(int(s), _share(w)) for s, w in slots])
        for text, share, reads, slots in given["tokens"]
    ]
    fact, question, answer, kind = (
        str(given[name]) for name in ("fact", "question", "answer", "kind")
    )
    return Row(fact, question, answer, kind, tokens)


def _slot(given: dict[str, Any]) -> Slot:
    snippets = [(str(before), str(it), str(after)) for before, it, after in given["snippets"]]
    tokens = [(int(row), int(place)) for row, place in given["tokens"]]
    return Slot(int(given["documents"]), int(given["num_tokens"]), tokens, snippets)


def _share(given: Any) -> float:
    if not 0 <= float(given) <= 1:
        raise ValueError(f"{given} is no share")
    return float(given)
