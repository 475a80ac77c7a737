"""Questions in the order of a statement: 'X is the capital of which country'."""

from smem_jax.data.rewording import verbs
from smem_jax.data.rewording.fronted import LONGEST_NOUN, NOUNS_LIKE_VERBS
from smem_jax.data.rewording.parsed import Parsed
from smem_jax.data.rewording.text import ASKING, PREPOSITIONS, words_with_protection


def in_situ(text: str, left: str, wh: str, rest: str) -> Parsed | None:
    """The parts of `text`, which is `left wh rest`; None where they are not understood."""
    if left.endswith(",") or ASKING.search(left):
        return None
    words, preposition = left.split(), ""
    if words[-1].lower() in PREPOSITIONS and len(words) > 2:
        preposition, words = words[-1].lower(), words[:-1]
    noun, tail = _noun_and_tail(rest.split(), preposition)
    if len(noun) > LONGEST_NOUN or (noun and wh in ("who", "whom")) or (not noun and wh == "which"):
        return None
    statement = words_with_protection(" ".join(words))
    place = _main_verb(statement)
    if place is None:
        return None
    before, after = statement[:place], statement[place + 1 :]
    return Parsed(
        "in_situ",
        text,
        preposition=preposition,
        wh=wh,
        noun=" ".join(noun),
        subject=" ".join(word for word, _ in before),
        verb=statement[place][0],
        rest=" ".join(word for word, _ in after),
        tail=" ".join(tail),
    )


def _noun_and_tail(words: list[str], preposition: str) -> tuple[list[str], list[str]]:
    """'county of Ireland' and 'in 1990'; 'county in Ireland' is one after 'in which'."""
    for place, word in enumerate(words):
        if word in PREPOSITIONS and (place == 0 or word not in ("of", preposition)):
            return words[:place], words[place:]
    return words, []


def _main_verb(statement: list[tuple[str, bool]]) -> int | None:
    for place, (word, protected) in enumerate(statement[1:], start=1):
        before = statement[place - 1][0]
        finite = word in verbs.AUXILIARIES | verbs.THIRDS - NOUNS_LIKE_VERBS
        finite = finite or (word in verbs.PASTS and not before.endswith(","))
        # After a plural the plain form is finite: 'the rivers flow into'.
        if not protected and (finite or (word in verbs.BASES and before.endswith("s"))):
            return place
    return None
