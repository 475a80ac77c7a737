"""Facts to teach, as JSON lines."""

import dataclasses
from pathlib import Path

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

    Raises InputError, with file and line, for what is malformed, and for an `id` or a question that
    comes twice.
    """
    facts: list[Fact] = []
    seen: dict[str, str] = {}
    for where, record in read_objects(path, ("question", "answer"), _OPTIONAL):
        fact = Fact(
            id=str(record.get("id", where.rpartition(":")[2])),
            question=text_field(where, record, "question"),
            answer=text_field(where, record, "answer"),
            aliases=list_field(where, record, "aliases"),
            statement=text_field(where, record, "statement")
            if record.get("statement") is not None
            else None,
            paraphrases=list_field(where, record, "paraphrases"),
            held_out=list_field(where, record, "held_out"),
        )
        for name, value in (("id", fact.id), ("question", fact.question)):
            if f"{name}={value}" in seen:
                raise InputError(
                    f"{where}: {name} {value!r} stands at {seen[f'{name}={value}']} already"
                )
            seen[f"{name}={value}"] = where
        facts.append(fact)
    return facts
