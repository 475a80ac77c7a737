"""Questions with their accepted answers, as JSON lines."""

import dataclasses
from pathlib import Path

from smem_jax.data.jsonl import list_field, read_objects, text_field
from smem_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Question:
    """A question and every answer that counts as right, the first being the one to score."""

    question: str
    answers: tuple[str, ...]


def read_questions(path: str | Path) -> list[Question]:
    """The questions of a JSON-lines file; InputError, with file and line, for what is malformed."""
    questions = []
    for where, record in read_objects(path, ("question", "answers")):
        answers = list_field(where, record, "answers")
        if not answers:
            raise InputError(f"{where}: answers=[] must hold at least one answer")
        questions.append(Question(text_field(where, record, "question"), answers))
    return questions
