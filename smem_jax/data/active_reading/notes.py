"""A chunk taken apart into what it says: facts and sentences."""

import re
from typing import NamedTuple

from smem_jax.data.active_reading.sentences import sentences

_LABELLED = re.compile(r"([^.!?:]{1,100}?)(?: \(continued\))?: (.+)")
MAX_FACT_WORDS = 16
# Not a part of a number such as '0.1950' or '1950.5'.
_YEAR = re.compile(r"(?<!\d[.,])\b(?:1[0-9]{3}|20[0-9]{2})\b(?![.,]\d)")


class Note(NamedTuple):
    """Something a chunk says, in its own words.

    A fact is short, and stands behind a label. A sentence may have a label, too; it is '' where the
    line has none.
    """

    label: str
    text: str
    is_fact: bool

    @property
    def year(self) -> int | None:
        """The first year that it names."""
        match = _YEAR.search(self.text)
        return None if match is None else int(match[0])


def subject_of(title: str) -> str:
    """'Brazil' of 'Brazil: Geography'."""
    return title.partition(": ")[0]


def notes_of(text: str) -> list[Note]:
    r"""The notes of a text: of each line 'LABEL: TEXT' or 'TEXT', in order.

    >>> [note.text for note in notes_of("Area - total: 20 sq km\nIt is flat. It is dry.")]
    ['20 sq km', 'It is flat.', 'It is dry.']
    """
    notes = []
    for line in filter(None, map(str.strip, text.split("\n"))):
        match = _LABELLED.fullmatch(line)
        label, rest = (spoken(match[1]), match[2]) if match else ("", line)
        parts = sentences(rest)
        is_fact = bool(label) and len(parts) == 1 and len(rest.split()) <= MAX_FACT_WORDS
        notes += [Note(label, part, is_fact) for part in parts]
    return notes


def spoken(label: str) -> str:
    """A label as it stands within a sentence: 'Area - total' as 'area, total'; 'GDP' stays."""
    label = label.replace(" - ", ", ")
    return label if label[1:2].isupper() else label[:1].lower() + label[1:]


def stopped(text: str) -> str:
    """A text with a full stop, unless a mark ends it."""
    return text if text.endswith((".", "!", "?")) else text + "."
