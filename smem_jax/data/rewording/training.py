"""The rules of rewording that are trained on.

| rule | question | wording |
| --- | --- | --- |
| indirect question | In what year did X end? | Can you tell me in what year X ended? |
| opener | Who wrote X? | Quick question: who wrote X? |
| closer | Who wrote X? | Who wrote X, do you know? |
| other interrogative | Who wrote X? | Which person wrote X? |
| telegram | What is the capital of X? | What capital X |
| lower case | Who wrote X? | anyone know who wrote x |
| moved clause | In 1990, who wrote X? | Who wrote X in 1990? |
| dropped lead | In music, what is an alto? | What is an alto? |
| role | Who wrote X? | The author of X? |
| synonyms | Who wrote the movie X? | Who penned the film X? |
"""

import itertools
import re
from collections.abc import Iterator

from smem_jax.data.rewording.parsed import Parsed
from smem_jax.data.rewording.synonyms import TRAINING, substituted
from smem_jax.data.rewording.text import (
    PREPOSITIONS,
    capitalized,
    joined,
    names,
    uncapitalized,
    word_set,
    words_with_protection,
)

_INDIRECT = (
    "Can you tell me {}?", "I would like to know {}.", "Do you know {}?", "I wonder {}.",
    "Could you please tell me {}?", "Please tell me {}.", "I am trying to find out {}.",
    "Do you remember {}?", "I keep forgetting {}.", "Does anyone here know {}?",
)  # fmt: skip
_OPENERS = (
    "Quick question: {}?", "Here is one for you: {}?", "Tell me this: {}?", "Help me out: {}?",
    "My question is this: {}?", "For the quiz: {}?", "So, {}?", "Okay, {}?",
    "Another question: {}?", "Just curious, {}?", "Please answer: {}?", "Excuse me, {}?",
)  # fmt: skip
_CLOSERS = (
    "{}, do you know?", "{}, please?", "{}? I forgot.", "{}? Any idea?", "{}, can you say?",
    "{}? Thanks in advance.", "{}? It is for a quiz.", "{}? I should know this.",
)  # fmt: skip
_ROLES = {
    "wrote": "author", "composed": "composer", "directed": "director", "painted": "painter",
    "invented": "inventor", "founded": "founder", "discovered": "discoverer", "won": "winner",
    "created": "creator", "designed": "designer", "sang": "singer", "produced": "producer",
    "published": "publisher", "hosted": "host", "narrated": "narrator",
}  # fmt: skip
_DROPPED = word_set(
    "the a an of is was are were did does do to in on that has had have been be by for it at"
)


def rules(question: Parsed) -> list[list[str]]:
    """Training wordings by rule; what a rule does not apply to, it gives none for."""
    direct = _direct(question)
    found = [
        [form.format(_at_place(form, direct)) for form in _OPENERS],
        [form.format(text) for text in _indirect(question) for form in _INDIRECT],
        [capitalized(form.format(direct)) for form in _CLOSERS],
        [f"{capitalized(text)}?" for text in _other_interrogative(question)],
        _changed(_telegram(direct), direct),
        [f"anyone know {text}".lower() for text in _indirect(question)]
        or [f"hey, {direct}".lower()],
        [f"{capitalized(text)}?" for text in _moved(question)],
        [f"{capitalized(question.text)}?"] if _may_drop_lead(question) else [],
        list(_role(question)),
        _changed(f"{capitalized(substituted(direct, TRAINING))}?", f"{capitalized(direct)}?"),
        _changed(f"Let me ask: {substituted(direct, TRAINING, 1)}?", f"Let me ask: {direct}?"),
    ]
    return found


def _changed(wording: str, original: str) -> list[str]:
    return [] if wording == original else [wording]


def _at_place(form: str, text: str) -> str:
    return capitalized(text) if form.startswith("{}") else text


def _direct(question: Parsed) -> str:
    return f"{question.lead}, {question.text}" if question.lead else question.text


def _indirect(question: Parsed) -> Iterator[str]:
    """The question as it stands after 'tell me'; none where the word order is not understood."""
    if question.kind == "subject":
        text = joined(question.asked, question.rest)
    elif question.kind == "clause":
        text = joined(question.asked, question.statement)
    elif question.kind == "copula":
        text = joined(question.wh, question.subject, question.verb)
        if len(question.subject.split()) > 6:
            text = joined(question.wh, question.verb, question.subject)
    elif question.kind == "in_situ":
        asked = joined(question.wh, question.noun)
        text = joined(asked, question.statement, question.preposition, question.tail)
    else:
        return
    if question.lead:
        if question.lead.split()[0] not in (PREPOSITIONS | {"according"}):
            return
        text = f"{text} {question.lead}" if "," not in text else f"{text}, {question.lead}"
    yield text


def _other_interrogative(question: Parsed) -> Iterator[str]:
    lead = f"{question.lead}, " if question.lead else ""
    text = question.text
    if (
        question.kind == "subject"
        and question.wh == "who"
        and question.rest.split()[0] not in ("are", "were")
    ):
        yield f"{lead}which person {question.rest}"
    elif (
        question.kind == "clause"
        and not question.preposition
        and text.startswith(("when ", "where "))
    ):
        place = "at what point in time" if question.wh == "when" else "in what place"
        yield lead + place + text[len(question.wh) :]
    elif question.wh in ("which", "what") and question.noun:
        other = "what" if question.wh == "which" else "which"
        changed = re.sub(
            rf"\b{question.wh} {re.escape(question.noun)}",
            f"{other} {question.noun}",
            text,
            count=1,
            flags=re.I,
        )
        yield lead + changed
        if question.noun == "year" and question.preposition == "in":
            yield lead + re.sub(r"\bin (what|which) year\b", "when", text)
    elif text.startswith("what is the name of "):
        yield lead + "what is " + text.removeprefix("what is the name of ") + " called"


def _telegram(text: str) -> str:
    """The text without function words, but for those within a title: 'The Hunting of the Snark'."""
    words = words_with_protection(text)
    kept = [i for i, (word, name) in enumerate(words) if name or word.lower() not in _DROPPED]
    for left, right in itertools.pairwise(list(kept)):
        if words[left][1] and words[right][1]:
            kept += range(left + 1, right)
    return capitalized(" ".join(words[place][0] for place in sorted(kept)))


def _moved(question: Parsed) -> Iterator[str]:
    first = question.lead.split()[:1]
    if first and (first[0] in PREPOSITIONS or first[0] == "according"):
        yield f"{question.text}, {question.lead}"
    elif not question.lead and question.kind != "whole":
        match = re.search(
            r" ((?:in|during|on|since) (?:the )?(?:[A-Z][a-z]+ )?(?:\d{1,2}, )?\d{4}s?)$",
            question.text,
        )
        if match:
            yield f"{match[1]}, {question.text[: match.start()]}"


def _may_drop_lead(question: Parsed) -> bool:
    """Whether the lead says nothing that the question needs: no name, number or title."""
    lead = question.lead
    return bool(lead) and not names(f"- {lead}") and lead.split()[0] in ("in", "according", "as")


def _role(question: Parsed) -> Iterator[str]:
    if question.lead:
        return
    verb, _, thing = question.rest.partition(" ")
    if question.kind == "subject" and question.wh == "who" and verb in _ROLES and thing:
        if thing.split()[0] not in PREPOSITIONS:
            yield f"The {_ROLES[verb]} of {uncapitalized(thing)}?"
    elif question.kind == "clause" and question.verb in ("was born", "is born"):
        kind = {"where": "Place", "when": "Date"}.get(question.wh, question.noun.capitalize())
        if kind in ("Place", "Date", "Year", "City", "Country", "Town") and not question.rest:
            yield f"{kind} of birth of {question.subject}?"
