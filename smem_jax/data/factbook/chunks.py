"""Profiles cut into chunks that fit a training sequence."""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from smem_jax.data.active_reading.augmenter import Encoder
from smem_jax.data.active_reading.sentences import sentences
from smem_jax.data.factbook.profiles import Field, Profile
from smem_jax.errors import InputError

CONTINUED = " (continued)"


class Chunk(NamedTuple):
    """Some fields of one section, a line each: 'LABEL: TEXT'.

    What is left of a field that was cut goes on under 'LABEL (continued)' in the next chunk.
    """

    id: str  # 'br/geography/0'
    title: str  # 'Brazil: Geography'
    text: str


def chunks(profile: Profile, tokenizer: Encoder, chunk_tokens: int) -> list[Chunk]:
    """A profile's text in chunks of at most `chunk_tokens` tokens each, title included, in order.

    No chunk spans two sections. A field is cut only where it is longer than a chunk: between
    sentences where it can be, else after a semicolon, a comma or a word. Nothing is left out.
    Raises InputError where a single word does not fit.
    """
    found = []
    for section in dict.fromkeys(field.section for field in profile.fields):
        title = f"{profile.name}: {section}"
        fields = [field for field in profile.fields if field.section == section]
        slug = re.sub(r"\W+", "-", section.lower())
        for number, text in enumerate(_Packer(title, tokenizer, chunk_tokens).pack(fields)):
            found.append(Chunk(f"{profile.code}/{slug}/{number}", title, text))
    return found


class _Packer:
    """Fills chunks one after another."""

    def __init__(self, title: str, tokenizer: Encoder, chunk_tokens: int):
        self._title, self._tokenizer, self._limit = title, tokenizer, chunk_tokens
        self._room = chunk_tokens - self._count(title)
        self._left = self._room
        self._texts: list[str] = []
        self._lines: list[str] = []

    def pack(self, fields: Sequence[Field]) -> list[str]:
        """The texts of the chunks."""
        for field in fields:
            line = f"{field.label}: {field.text}"
            if not self._add_line(line):
                self._next_chunk()
                if not self._add_line(line):
                    self._add_in_pieces(field)
        self._next_chunk()
        return self._texts

    def _count(self, text: str) -> int:
        return len(self._tokenizer.encode(text))

    def _next_chunk(self) -> None:
        if self._lines:
            self._texts.append("\n".join(self._lines))
        self._lines, self._left = [], self._room

    def _add_line(self, line: str) -> bool:
        cost = self._count("\n" + line)
        if cost > self._left:
            return False
        self._lines.append(line)
        self._left -= cost
        return True

    def _add_in_pieces(self, field: Field) -> None:
        label = field.label
        more = field.label + CONTINUED

        def fits(piece: str) -> bool:
            return self._count(f"\n{more}: {piece}") <= self._room

        for piece in _pieces(field.text, fits):
            cost = self._count(" " + piece)
            if self._lines and cost <= self._left:
                self._lines[-1] += " " + piece
                self._left -= cost
                continue
            self._next_chunk()
            if not self._add_line(f"{label}: {piece}"):
                raise InputError(
                    f"chunk_tokens={self._limit} is too short for {self._title}, {field.label}: "
                    f"the word {piece[:40]!r} alone does not fit"
                )
            label = more


def _pieces(text: str, fits: Callable[[str], bool], level: int = 0) -> list[str]:
    """`text` in pieces that fit, cut no finer than need be; single words may not fit."""
    splits: tuple[Callable[[str], list[str]], ...] = (
        sentences,
        lambda part: re.split(r"(?<=;) ", part),
        lambda part: re.split(r"(?<=,) ", part),
        str.split,
    )
    if level == len(splits) or fits(text):
        return [text]
    return [piece for part in splits[level](text) for piece in _pieces(part, fits, level + 1)]
