"""What must not be forgotten, as JSON lines: questions known before, worked problems, choices."""

import dataclasses
import string
from pathlib import Path
from typing import Any

from smem_jax.data.jsonl import list_field, read_objects, text_field
from smem_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class KnownQuestion:
    """A question that the base model answers right.

    Attributes:
      id: of the record, for instance 'nq-17'.
      question: as asked.
      answers: everything that counts as right.
      said: the answer of the base model in its own words.
    """

    id: str
    question: str
    answers: tuple[str, ...]
    said: str


@dataclasses.dataclass(frozen=True)
class Problem:
    """A word problem and its published solution, of several lines."""

    question: str
    solution: str


@dataclasses.dataclass(frozen=True)
class ChoiceQuestion:
    """A question with choices, of which the one of index `right` is right."""

    question: str
    choices: tuple[str, ...]
    right: int


def read_known(path: str | Path) -> list[KnownQuestion]:
    """Records of `id`, `question`, `answers` and `said`.

    Raises InputError, with file and line, for what is malformed and for an `id` that comes twice.
    """
    found: dict[str, KnownQuestion] = {}
    for where, record in read_objects(path, ("id", "question", "answers", "said")):
        answers = list_field(where, record, "answers")
        if not answers:
            raise InputError(f"{where}: answers=[] must hold at least one answer")
        name = text_field(where, record, "id")
        if name in found:
            raise InputError(
                f"{where}: id={name!r} comes twice; each question needs one of its own"
            )
        question, said = (text_field(where, record, field) for field in ("question", "said"))
        found[name] = KnownQuestion(name, question, answers, said)
    return list(found.values())


def read_problems(path: str | Path) -> list[Problem]:
    """Records of `question` and `answer`, as GSM8K publishes them.

    Raises InputError, with file and line, for what is malformed.
    """
    return [
        Problem(text_field(where, record, "question"), text_field(where, record, "answer"))
        for where, record in read_objects(path, ("question", "answer"))
    ]


def read_lettered(path: str | Path) -> list[ChoiceQuestion]:
    """Records of `id`, `question`, `options` by the letters A, B, C, ... and `target`, a letter.

    Raises InputError, with file and line, for what is malformed.
    """
    return [
        _lettered(*line) for line in read_objects(path, ("id", "question", "options", "target"))
    ]


def _lettered(where: str, record: dict[str, Any]) -> ChoiceQuestion:
    options, target = record["options"], record["target"]
    letters = list(string.ascii_uppercase[: len(options)]) if isinstance(options, dict) else []
    if len(letters) < 2 or list(options) != letters:
        raise InputError(f"{where}: options={options!r} must be texts of the letters A, B, ...")
    choices = tuple(text_field(where, options, letter) for letter in letters)
    if target not in letters:
        raise InputError(f"{where}: target={target!r} must be one of {', '.join(letters)}")
    return ChoiceQuestion(text_field(where, record, "question"), choices, letters.index(target))


def read_choices(path: str | Path) -> list[ChoiceQuestion]:
    """Records of `question`, `choices` and `answer`, which is one of the choices.

    Raises InputError, with file and line, for what is malformed.
    """
    return [_choices(*line) for line in read_objects(path, ("question", "choices", "answer"))]


def _choices(where: str, record: dict[str, Any]) -> ChoiceQuestion:
    choices = list_field(where, record, "choices")
    if len(choices) < 2 or len(set(choices)) < len(choices):
        raise InputError(f"{where}: choices={choices!r} must be at least two, all different")
    answer = text_field(where, record, "answer")
    if answer not in choices:
        raise InputError(f"{where}: answer={answer!r} must be one of the choices {choices!r}")
    return ChoiceQuestion(text_field(where, record, "question"), choices, choices.index(answer))
