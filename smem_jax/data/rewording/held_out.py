"""The rules of rewording that are never trained on.

| rule | question | wording |
| --- | --- | --- |
| cleft | Who wrote X? | Who was it that wrote X? |
| answer last | In what year did X end? | X ended in what year? |
| passive, asked last | Who wrote X? | X was written by whom? |
| question first | X is the capital of which country? | Which country is X the capital of? |
| measure | How old was X? | What age was X? |
| command | Which river flows through X? | Name the river that flows through X. |
| other synonyms | Who wrote the movie X? | Who authored the motion picture X? |
"""

import re
from collections.abc import Iterator

from smem_jax.data.rewording import verbs
from smem_jax.data.rewording.parsed import Parsed
from smem_jax.data.rewording.synonyms import HELD_OUT, substituted
from smem_jax.data.rewording.text import PREPOSITIONS, capitalized, joined

_PEOPLE = re.compile(
    r"(actor|actress|singer|author|writer|president|king|queen|player|artist|scientist|composer"
    r"|person|man|woman|director|musician|painter|poet|mathematician|politician|emperor|boxer|star"
    r"|leader|character|physicist|minister|comedian|footballer|jockey|rapper|vocalist|architect"
    r"|explorer)$"
)
_ON_TIME = {"year": "in", "month": "in", "day": "on", "date": "on"}
_MEASURES = {
    "how old": "what age", "how far": "what distance", "how tall": "what height",
    "how much": "what amount", "how many": "what number of", "how high": "what height",
    "how long": "what length of time", "how often": "with what frequency",
    "how fast": "at what speed",
}  # fmt: skip
# Verbs whose object can begin a passive: 'X was written by whom?'
_PASSIVE = {
    "wrote": "written", "composed": "composed", "directed": "directed", "painted": "painted",
    "invented": "invented", "founded": "founded", "discovered": "discovered", "created": "created",
    "designed": "designed", "sang": "sung", "recorded": "recorded", "portrayed": "portrayed",
    "played": "played", "performed": "performed", "published": "published", "built": "built",
    "produced": "produced", "killed": "killed", "hosted": "hosted", "narrated": "narrated",
}  # fmt: skip


def wordings(question: Parsed) -> Iterator[str]:
    """Held-out wordings, the ones most unlike the question first; some may come twice."""
    rules = (_cleft, _answer_last, _passive, _question_first, _measure, _command)
    plain = [wording for rule in rules for wording in rule(question)]
    for wording in plain:
        # Both changes at once, where there is a synonym, then each alone.
        yield substituted(wording, HELD_OUT)
    original = question.text + "?"
    if question.lead:
        original = f"{question.lead}, {original}"
    yield substituted(original, HELD_OUT)
    yield from plain


def _led(question: Parsed, text: str, mark: str = "?") -> str:
    """The text as a sentence, with the lead of the question before it."""
    return (f"{question.lead}, {text}" if question.lead else text) + mark


def _was(question: Parsed) -> str:
    return "is" if question.is_present else "was"


def _cleft(question: Parsed) -> Iterator[str]:
    if question.wh in ("how", "why", "whose") or question.noun.split()[-1:] == ["name"]:
        return
    if question.kind == "subject" and question.noun.split()[:1] != ["two"]:
        yield _led(question, f"{question.asked} {_was(question)} it that {question.rest}")
    elif question.kind == "clause":
        yield _led(question, f"{question.asked} {_was(question)} it that {question.statement}")
    elif question.kind == "copula" and question.wh == "who":
        yield _led(question, f"who {_was(question)} it that {question.verb} {question.subject}")


def _answer_last(question: Parsed) -> Iterator[str]:
    if question.kind == "copula":
        comma = "," if "," in question.subject else ""
        asked = "who" if question.wh == "who" else "what"
        yield _led(question, f"{question.subject}{comma} {question.verb} {asked}")
    elif question.kind == "clause" and question.wh != "why":
        rest = question.rest
        asks_object = not question.preposition and question.wh in ("what", "which", "who")
        if asks_object and question.noun.split()[-1:] not in (["year"], ["month"], ["day"]):
            # The object stands right after the verb, before 'in 1943'; not before 'the dog in'.
            if rest and rest.split()[0] not in PREPOSITIONS:
                return
            if rest and rest.split()[-1] in PREPOSITIONS:
                yield _led(question, joined(question.statement, question.asked))
            else:
                yield _led(question, joined(question.subject, question.verb, question.asked, rest))
        else:
            on = "" if question.preposition else _ON_TIME.get(question.noun.split(" ")[-1], "")
            asked = joined(on, question.asked)
            if rest.startswith("when "):
                yield _led(question, joined(question.subject, question.verb, asked, rest))
            else:
                yield _led(question, joined(question.statement, asked))
    elif question.kind == "subject" and question.rest.split()[0] in verbs.BE and question.noun:
        verb, _, rest = question.rest.partition(" ")
        if rest.startswith(("the ", "a ", "an ")):
            yield _led(question, f"{rest} {verb} {question.asked}")


def _passive(question: Parsed) -> Iterator[str]:
    if question.kind != "subject" or not (question.wh == "who" or _PEOPLE.search(question.noun)):
        return
    verb, _, thing = question.rest.partition(" ")
    if verb not in _PASSIVE or thing.split()[:1] in (
        ["in"],
        ["with"],
        ["for"],
        ["at"],
        ["against"],
        ["and"],
    ):
        return
    when = re.search(r" (in (?:the )?\d{4}s?)$", thing)
    if when and thing[: when.start()].split()[-1] not in verbs.PARTICIPLES:
        thing = thing[: when.start()]
    by = "whom" if question.wh == "who" else f"which {question.noun}"
    lead = when[1] + ", " if when and when[0] not in thing and not question.lead else ""
    yield _led(question, f"{lead}{thing} was {_PASSIVE[verb]} by {by}")


def _question_first(question: Parsed) -> Iterator[str]:
    if question.kind != "in_situ":
        return
    asked = joined(question.wh, question.noun)
    if question.verb in verbs.AUXILIARIES:
        verb, rest = question.verb, question.rest
    elif base := verbs.base(question.verb):
        verb = "does" if question.verb in verbs.THIRDS else "did"
        rest = joined(base, question.rest)
    else:
        return
    inverted = joined(verb, question.subject, rest)
    if "," not in question.subject:
        yield _led(question, joined(asked, inverted, question.preposition, question.tail))
    if question.preposition:
        yield _led(question, joined(question.preposition, asked, inverted, question.tail))


def _measure(question: Parsed) -> Iterator[str]:
    if question.wh != "how" or question.preposition:
        return
    for measure, noun in _MEASURES.items():
        if question.text.startswith(measure + " "):
            yield _led(question, noun + question.text[len(measure) :])
            return
    if question.kind == "clause" and not question.noun:
        yield _led(question, "in what way" + question.text[len("how") :])


def _command(question: Parsed) -> Iterator[str]:
    phrase = _thing_asked_for(question)
    if phrase:
        told = "Give" if any(word in _GIVEN for word in phrase.split()[1:5]) else "Name"
        after = f", {question.lead}" if question.lead.startswith("according") else ""
        before = capitalized(question.lead) + ", " if question.lead and not after else ""
        yield f"{before}{told.lower() if before else told} {phrase}{after}."


_GIVEN = ("year", "date", "number", "place", "name", "names", "surname", "month", "day", "title")


def _thing_asked_for(question: Parsed) -> str:
    """A noun phrase for the answer: 'the river that flows through X'; '' where there is none."""
    wh, noun = question.wh, question.noun
    if question.kind == "copula":
        starts_definite = question.subject.split()[0].lower() in ("the", "his", "her", "its")
        is_name = question.wh == "what" and question.subject[0].isupper()
        named = starts_definite or is_name or "'s " in question.subject
        return question.subject if named else ""
    if wh in ("", "why", "whose", "whom") or (wh == "how" and noun.split()[:1] != ["many"]):
        return ""
    if wh == "how":
        thing = f"the number of {noun.removeprefix('many ')}"
    elif noun:
        thing = f"the {noun}"
    else:
        names = {"who": "the person", "what": "the thing", "when": "the date", "where": "the place"}
        thing = names.get(wh, "the one")
    joint = "who" if wh == "who" or _PEOPLE.search(thing) else "that"
    if question.kind == "subject":
        return f"{thing} {joint} {question.rest}"
    if question.kind == "clause":
        if question.preposition:
            return f"{thing} {question.preposition} which {question.statement}"
        link = {"when": "when", "where": "where"}.get(wh, "that")
        return f"{thing} {link} {question.statement}"
    if question.kind == "in_situ":
        return joined(thing, "that", question.statement, question.preposition, question.tail)
    return ""
