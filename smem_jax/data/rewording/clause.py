"""Subject, verb and rest of a clause whose auxiliary stood before its subject."""

from collections.abc import Callable

from smem_jax.data.rewording import verbs
from smem_jax.data.rewording.text import DETERMINERS, PREPOSITIONS, joined, word_set

_CALLING = word_set(
    "called named known nicknamed dubbed born made based used famous awarded given referred"
)
# What follows one of them is a clause of its own.
_CLAUSE_WORDS = word_set("when who that which where while because if")
# 'the comedy star', 'the radio show': the second word is no verb there.
_NOUNS_TOO = word_set("show play star host film hit fight head cast love record band")
_MODIFIERS = word_set(
    "comedy radio television tv horror music musical animated famous popular new old first love "
    "american british french german italian rock pop movie film talk game reality stage big young "
    "hit cartoon children's childrens fictional female male and or"
)


def in_order(
    auxiliary: str, words: list[tuple[str, bool]], calling_only: bool = False
) -> tuple[str, str, str] | None:
    """Subject, verb and rest of a clause after its auxiliary, in the order of a statement."""
    takes_participle = auxiliary in verbs.BE or auxiliary in ("has", "have", "had")
    forms: tuple[Callable[[str], bool], ...] = (verbs.BASES.__contains__,)
    if takes_participle:
        forms = (_is_participle, _is_ing)
    if calling_only:
        forms = (_CALLING.__contains__,)
    for is_verb in forms:
        place = _place_of_verb(words, is_verb, last_only=calling_only)
        if place is not None:
            subject, word, rest = _cut(words, place)
            return subject, _in_statement(auxiliary, word), rest
    if auxiliary in verbs.BE and words and not calling_only:
        places = [i for i, (word, _) in enumerate(words) if i and word in _CLAUSE_WORDS]
        subject, word, rest = _cut(words, places[0] if places else len(words))
        return subject, auxiliary, joined(word, rest)
    return None


def _in_statement(auxiliary: str, verb: str) -> str:
    if auxiliary == "did":
        return verbs.past(verb)
    if auxiliary == "does":
        return verbs.third_person(verb)
    return verb if auxiliary == "do" else f"{auxiliary} {verb}"


def _cut(words: list[tuple[str, bool]], place: int) -> tuple[str, str, str]:
    """What stands before a word, the word ('' past the end), and what stands after it."""
    texts = [word for word, _ in words]
    return " ".join(texts[:place]), " ".join(texts[place : place + 1]), " ".join(texts[place + 1 :])


def _is_participle(word: str) -> bool:
    return word in verbs.PARTICIPLES or word in _CALLING or (len(word) > 5 and word.endswith("ed"))


def _is_ing(word: str) -> bool:
    return len(word) > 5 and word.endswith("ing")


def _place_of_verb(
    words: list[tuple[str, bool]], is_verb: Callable[[str], bool], last_only: bool
) -> int | None:
    """The place of the verb that follows the subject at the head of `words`."""
    for place, (word, protected) in enumerate(words):
        if place > 0 and word in _CLAUSE_WORDS and is_verb in (_is_participle, _is_ing):
            return None
        if place == 0 or protected or not is_verb(word):
            continue
        before = words[place - 1][0].lower()
        if before in ("first", "last") and place > 1:
            before = "" if words[place - 2][0].lower() not in DETERMINERS else before
        if before in DETERMINERS or before in PREPOSITIONS:
            continue
        if word in _NOUNS_TOO and before in _MODIFIERS:
            continue
        after = [following for following, _ in words[place + 1 :]]
        is_last = not after or (len(after) == 1 and after[0] in PREPOSITIONS)
        if last_only and (not is_last or before == "and"):
            continue
        return place
    return None
