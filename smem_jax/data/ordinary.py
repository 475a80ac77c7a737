"""Ordinary text that comes with the package, for the document frequency of slots.

Prose of WikiText-103 and questions of three public sets, with their licences beside them.
"""

from pathlib import Path
from typing import NamedTuple

_PACKAGE = Path(__file__).resolve().parents[1]
_CONFIGS = _PACKAGE.parent / "configs"


class Ordinary(NamedTuple):
    """Files of prose, a paragraph a line, and of questions with answers, JSON lines."""

    text: Path
    questions: Path


def ordinary() -> Ordinary:
    """Those in an installed package, or in the source tree that it runs from."""
    inside = _PACKAGE / "ordinary_text"
    if inside.is_dir():
        return Ordinary(inside / "background_text.txt", inside / "background_qa.jsonl")
    return Ordinary(
        _CONFIGS / "quickstart_data" / "background_text.txt",
        _CONFIGS / "stream_data" / "background_qa.jsonl",
    )
