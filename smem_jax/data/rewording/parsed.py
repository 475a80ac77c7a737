"""What a question is taken apart into."""

import dataclasses
from typing import Literal

from smem_jax.data.rewording import verbs
from smem_jax.data.rewording.text import joined


@dataclasses.dataclass(frozen=True)
class Parsed:
    """A question in parts.

    Attributes:
      kind: 'subject' (who wrote X), 'copula' (what is X), 'clause' (in what year did X happen),
        'in_situ' (X is in which country) or 'whole' (anything else).
      text: the question without its lead and its question mark, as within a sentence.
      lead: what stands before it and a comma ('In Norse myth'), or ''.
      preposition: before the interrogative word, or ''.
      wh: the interrogative word.
      noun: what it belongs to ('year'), or ''.
      subject: of the clause; of a copula, what is asked about.
      verb: of the clause, in its form in a statement; of a copula, 'is', 'was', 'are' or 'were'.
      rest: of the clause, after its verb; of a 'subject' question, everything after `wh noun`.
      tail: of an 'in_situ' question, what follows `wh noun`.
    """

    kind: Literal["subject", "copula", "clause", "in_situ", "whole"]
    text: str
    lead: str = ""
    preposition: str = ""
    wh: str = ""
    noun: str = ""
    subject: str = ""
    verb: str = ""
    rest: str = ""
    tail: str = ""

    def with_clause(
        self, clause: tuple[str, str, str], kind: Literal["copula", "clause"] = "clause"
    ) -> "Parsed":
        """The question with the subject, verb and rest of its clause.

        Without a subject, what is asked for is the subject of `rest`.
        """
        subject, verb, rest = clause
        changes = {"subject": subject, "verb": verb, "rest": rest}
        return dataclasses.replace(self, kind=kind if subject else "subject", **changes)

    @property
    def asked(self) -> str:
        """The interrogative phrase: 'in which year'."""
        return joined(self.preposition, self.wh, self.noun)

    @property
    def statement(self) -> str:
        """The clause without the interrogative phrase: 'the war ended'."""
        return joined(self.subject, self.verb, self.rest)

    @property
    def is_present(self) -> bool:
        """Whether the question is about now."""
        first = (self.verb or self.rest).split()[:1]
        return bool(first) and (
            first[0] in ("is", "are", "has", "have", "can") or first[0] in verbs.THIRDS
        )
