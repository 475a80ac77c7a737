"""Facts to teach, as JSON lines."""

import dataclasses
from pathlib import Path
from typing import Any

from smem_jax.data.jsonl import list_field, read_objects, text_field
from smem_jax.errors import InputError

_OPTIONAL = ("id", "aliases", "statement", "paraphrases", "held_out")


@dataclasses.dataclass(frozen=True)
class Fact:
    """A question with its answer.

    Attributes:
      id: the `id` of the record, or the number of its line.
      question: as asked most plainly.
      answer: what is taught.
      aliases: other answers that count as right.
      statement: a sentence that says the fact, or None.
      paraphrases: other wordings of the question, trained on.
      held_out: other wordings, never trained on.
    """

    id: str
    question: str
    answer: str
    aliases: tuple[str, ...] = ()
    statement: str | None = None
    paraphrases: tuple[str, ...] = ()
    held_out: tuple[str, ...] = ()

    @property
    def accepted(self) -> tuple[str, ...]:
        """Every answer that counts as right."""
        return (self.answer, *self.aliases)


def read_facts(path: str | Path) -> list[Fact]:
    """The facts of a JSON-lines file.

    Raises InputError, with file and line, for what is malformed, for an `id` or a question that
    comes twice, and for a held-out wording that is trained on, too.
    """
    facts: list[Fact] = []
    seen: dict[tuple[str, str], str] = {}
    for where, record in read_objects(path, ("question", "answer"), _OPTIONAL):
        fact = _fact(where, record)
        for key in (("id", fact.id), ("question", fact.question)):
            if key in seen:
                raise InputError(f"{where}: {key[0]} {key[1]!r} stands at {seen[key]} already")
            seen[key] = where
        facts.append(fact)
    return facts


def _fact(where: str, record: dict[str, Any]) -> Fact:
    fact = Fact(
        id=_id(where, record),
        question=text_field(where, record, "question"),
        answer=text_field(where, record, "answer"),
        aliases=list_field(where, record, "aliases"),
        statement=None
        if record.get("statement") is None
        else text_field(where, record, "statement"),
        paraphrases=list_field(where, record, "paraphrases"),
        held_out=list_field(where, record, "held_out"),
    )
    if "\n" in fact.answer:
        raise InputError(
            f"{where}: answer={fact.answer!r} must be one line, since a line break ends an answer"
        )
    for wording in fact.held_out:
        if wording in (fact.question, *fact.paraphrases):
            raise InputError(f"{where}: held_out has {wording!r}, which is trained on")
    return fact


def _id(where: str, record: dict[str, Any]) -> str:
    """The `id`, text or a whole number, as text; without one, the number of the line."""
    value = record.get("id")
    if value is None:
        return where.rpartition(":")[2]
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise InputError(f"{where}: id={value!r} must be text or a whole number")
    return text_field(where, record, "id")
