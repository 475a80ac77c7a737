"""The parts of a question: what is asked for, and the rest as a plain clause.

A few patterns and a list of verbs, no grammar: a question that fits none of them is left whole.
"""

import dataclasses
import re

from smem_jax.data.rewording import verbs
from smem_jax.data.rewording.fronted import NOUNS_LIKE_VERBS, fronted
from smem_jax.data.rewording.in_situ import in_situ
from smem_jax.data.rewording.parsed import Parsed
from smem_jax.data.rewording.text import (
    ASKING,
    PREPOSITIONS,
    WH_WORDS,
    uncapitalized,
    word_set,
    words_with_protection,
)

_PREPOSITION = "|".join(sorted(PREPOSITIONS))
_WH = re.compile(
    rf"^(?:(?P<prep>{_PREPOSITION})\s+)?(?P<wh>{'|'.join(WH_WORDS)})\b(?P<rest>.*)$", re.I
)
_IN_SITU = re.compile(r"^(?P<left>.+)\s+(?P<wh>which|what|whom|who)\b(?P<rest>[^,]*)$", re.I)
_LEAD = re.compile(
    rf"^(?P<lead>[^?]+?),\s+(?=(?:(?:{_PREPOSITION})\s+)?(?:{'|'.join(WH_WORDS)})\b)(?P<core>.+)$",
    re.I,
)
_LEAD_WITHOUT_COMMA = re.compile(_LEAD.pattern.replace(r",\s+", r"\s+", 1), re.I)
_NAMING = re.compile(r"^(?:can you |please )?name (?P<phrase>(?:the\b|a\b|an\b|\S+'s\b).+)$", re.I)
_LEADING = word_set("according as referring founded known towards")
_SHORTENED = re.compile(r"^(what|who|where|when)['\u2019]s\b", re.I)
_ASKING_LAST = re.compile(r"^who\b.*, .*\b(which|what)\b", re.I)  # 'Bo, who sings, is from which'
_SECOND_CLAUSE = re.compile(rf", (?:{'|'.join(WH_WORDS)}) (?:did|does|do|is|was|are|were)\b")
_FINITE = verbs.AUXILIARIES | verbs.PASTS | (verbs.THIRDS - NOUNS_LIKE_VERBS)


def parse(question: str) -> Parsed:
    """The parts of a question, which may lack its question mark."""
    text = " ".join(question.split()).rstrip("?. ")
    text = _SHORTENED.sub(lambda match: match[1] + " is", text)
    lead, text = _split_lead(text)
    text = uncapitalized(text)
    found = _parse_core(text)
    return dataclasses.replace(found, text=text, lead=uncapitalized(lead))


def _split_lead(text: str) -> tuple[str, str]:
    """What stands before the question proper ('In Norse myth'), and the question proper."""
    for pattern in (_LEAD, _LEAD_WITHOUT_COMMA):
        match = pattern.match(text)
        if match is None or ASKING.search(match["lead"]) or _ASKING_LAST.search(match["core"]):
            continue
        is_phrase = " " in match["lead"] and not _has_verb(match["lead"])
        if _may_lead(match["lead"]) and (pattern is _LEAD or is_phrase):
            return match["lead"], match["core"]
    lead, comma, core = text.rpartition(", ")
    if comma and _may_lead(lead) and not ASKING.search(lead):
        return lead, core
    return "", text


def _may_lead(text: str) -> bool:
    return text.split(" ")[0].lower() in PREPOSITIONS | _LEADING


def _has_verb(text: str) -> bool:
    """Whether a text is more than a phrase: 'In 1953 he went to' has its question after it."""
    return any(word in _FINITE and not protected for word, protected in words_with_protection(text))


def _parse_core(text: str) -> Parsed:
    whole = Parsed("whole", text)
    if _SECOND_CLAUSE.search(text):
        return whole
    if match := _NAMING.match(text):
        return Parsed("copula", text, wh="what", verb="is", subject=match["phrase"])
    if match := _WH.match(text):
        preposition, wh = (match["prep"] or "").lower(), match["wh"].lower()
        found = fronted(text, preposition, wh, match["rest"].strip())
        return found or whole
    if match := _IN_SITU.match(text):
        return in_situ(text, match["left"], match["wh"].lower(), match["rest"].strip()) or whole
    return whole
