"""Questions that begin with what is asked for: 'who wrote X', 'in what year did X end'."""

import re

from smem_jax.data.rewording import verbs
from smem_jax.data.rewording.clause import in_order
from smem_jax.data.rewording.parsed import Parsed
from smem_jax.data.rewording.text import (
    DETERMINERS,
    PREPOSITIONS,
    QUOTATION,
    joined,
    word_set,
    words_with_protection,
)

LONGEST_NOUN = 7
# Plurals that follow 'which two' or 'what' more often than they are verbs.
NOUNS_LIKE_VERBS = word_set(
    "names films stars shows parts plays colors colours words works songs teams series states "
    "sports games books places points houses airs sounds hosts films tests tracks scores ships "
    "forms types"
)
# 'what colour is X': X is what the clause is about.
_KINDS = word_set("kind type sort breed colour color nationality age size shape")
_ADVERBS = word_set("sometimes originally currently now also once famously usually reportedly")
_TIMES = word_set("year month day date")


def fronted(text: str, preposition: str, wh: str, rest: str) -> Parsed | None:
    """The parts of `text`, which is `preposition wh rest`; None where they are not understood."""
    words = words_with_protection(rest)
    place = _first_verb(words, wh)
    if place is None:
        return None
    while place > 0 and _is_adverb(words[place - 1][0]):
        place -= 1
    noun = " ".join(word for word, _ in words[:place])
    verb, following = words[place][0], words[place + 1 :]
    last_of_noun = noun.split(" ")[-1]
    if (
        not following
        or last_of_noun in ("that", "who", "which")
        or (noun and wh in ("who", "whom"))
    ):
        return None
    whole_noun = Parsed("subject", text, preposition=preposition, wh=wh, noun=noun)
    counted = wh == "how" and noun.startswith("many ") and not preposition
    around = bool(preposition) or wh in ("when", "where", "how", "why", "whom")
    around = (around and not counted) or last_of_noun in _TIMES
    if verb in ("did", "does", "do") or (verb in verbs.AUXILIARIES and around):
        clause = in_order(verb, following) if wh != "whose" else None
        return whole_noun.with_clause(clause) if clause else None
    if around:
        return None
    if verb in verbs.BE and (wh in ("who", "what") or noun):
        found = _around_be(whole_noun, verb, following)
        if found is not None:
            return found
        if noun and following[-1][0] in PREPOSITIONS:
            return None
    return whole_noun.with_clause(("", "", joined(verb, *(word for word, _ in following))))


def _around_be(question: Parsed, verb: str, following: list[tuple[str, bool]]) -> Parsed | None:
    """'What is X called', 'what colour is X', 'what is X'; None for 'which river is long'."""
    clause = in_order(verb, following, calling_only=True)
    if clause is None and question.noun.split(" ")[0] in _KINDS:
        clause = in_order(verb, following)
    if clause is not None:
        return question.with_clause(clause)
    text = " ".join(word for word, _ in following)
    subject, _, last = text.rpartition(" ")
    # 'is Bo a member of' has a verb between subject and rest that the last word does not show.
    is_simple = not question.noun or not re.search(r" (a|an|the|one) ", subject)
    if last in PREPOSITIONS and subject and is_simple:
        return question.with_clause((subject, verb, last))
    if not question.noun and _is_noun_phrase(text):
        return question.with_clause((text, verb, ""), kind="copula")
    return None


def _is_adverb(word: str) -> bool:
    return word in _ADVERBS or (len(word) > 6 and word.endswith("ally")) or word.endswith("ously")


def _is_noun_phrase(text: str) -> bool:
    """Whether a text after 'what is' begins like the name or the description of a thing."""
    first = text.split()[0]
    is_quoted = QUOTATION.match(text) is not None
    return first.lower() in DETERMINERS or first[0].isupper() or "'s " in text or is_quoted


def _first_verb(words: list[tuple[str, bool]], wh: str) -> int | None:
    """The place of the first verb after the interrogative word, near its start."""
    for place, (word, protected) in enumerate(words[: LONGEST_NOUN + 1]):
        if protected:
            continue
        if word in verbs.AUXILIARIES:
            return place
        after_comma = place > 0 and words[place - 1][0].endswith(",")
        if word.endswith(",") or (place == 0 and wh in ("which", "whose", "how")):
            continue
        next_word = words[place + 1][0] if place + 1 < len(words) else ""
        is_past = word in verbs.PASTS and not after_comma and next_word not in ("by", "as")
        if is_past and not _is_modifier(place, words, wh):
            return place
        if word in verbs.THIRDS - NOUNS_LIKE_VERBS and (
            place > 0 or wh == "who" or next_word.lower() in DETERMINERS
        ):
            return place
    return None


def _is_modifier(place: int, words: list[tuple[str, bool]], wh: str) -> bool:
    """Whether a participle belongs to the noun after it: 'which animated movie won'."""
    later = [word for word, protected in words[place + 1 : place + 4] if not protected]
    return place == 0 and wh != "who" and any(w in verbs.AUXILIARIES | verbs.PASTS for w in later)
