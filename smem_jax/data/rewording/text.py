"""Words, quotations and capital letters of a question."""

import re


def word_set(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


# Straight and curly quotation marks; an apostrophe within a word is none.
QUOTATION = re.compile(
    r"\"[^\"]+\"|\u201c[^\u201d]+\u201d|\u2018[^\u2019]+\u2019|(?<!\w)'[^']+'(?!\w)"
)

WH_WORDS = ("who", "whom", "whose", "what", "which", "when", "where", "how", "why")
ASKING = re.compile(rf"\b({'|'.join(WH_WORDS)}|if)\b", re.I)
PREPOSITIONS = word_set(
    "in on at of for from to by with under during into about as between after against near over "
    "through upon before within since until among around behind besides across along"
)
DETERMINERS = word_set(
    "the a an his her its their our my your this these that those some any every each no first "
    "second third last"
)
_LOWERED = (
    PREPOSITIONS
    | DETERMINERS
    | frozenset(WH_WORDS)
    | word_set(
        "is was are were did does do has had have can could if when while it he she according "
        "there one name"
    )
)


def normalized(text: str) -> str:
    """Lower-case words without punctuation, one blank between them."""
    return " ".join(re.sub(r"[^\w\s]", "", text.lower()).split())


def capitalized(text: str) -> str:
    """The text with a capital first letter."""
    return text[:1].upper() + text[1:]


def uncapitalized(text: str) -> str:
    """The text as it would stand within a sentence: a name at its head keeps its capital."""
    head, blank, rest = text.partition(" ")
    if head.lower() not in _LOWERED:
        return text
    return head.lower() + blank + rest


def words_with_protection(text: str) -> list[tuple[str, bool]]:
    """The words of `text`; True stands by what is quoted or has a capital or a digit in it."""
    spans = [match.span() for match in QUOTATION.finditer(text)]
    return [
        (
            match.group(),
            any(start <= match.start() < stop for start, stop in spans)
            or any(letter.isupper() or letter.isdigit() for letter in match.group()),
        )
        for match in re.finditer(r"\S+", text)
    ]


def names(text: str) -> set[str]:
    """The words every wording keeps: quoted, or with a capital or a digit; but not the first."""
    kept = {word for word, protected in words_with_protection(text)[1:] if protected}
    return {plain for word in kept for plain in [normalized(word)] if plain}


def joined(*parts: str) -> str:
    """The parts that are not empty, with blanks between them."""
    return " ".join(part.strip() for part in parts if part.strip())
