"""Short answers out of the text of a field.

Each function gives the answers that count as right, the one that is taught first, or none where the
field does not answer its question plainly. The first is in the field letter by letter, apart from
case: the Factbook writes surnames and capitals in capital letters.
"""

import re
from collections.abc import Callable

Answers = tuple[str, ...]

_NOTHING = re.compile(r"(?:none|n/?a|unnamed|no|not|there)\b|the ", re.IGNORECASE)
_NUMBER = r"\$?-?\d[\d,]*(?:\.\d+)?(?: (?:million|billion|trillion))?"
_ABOUT = "(?:about|approximately|more than|over|at least|almost|nearly|an estimated)"
_OTHER_NAMES = {
    "UK": ("United Kingdom", "Britain", "Great Britain"),
    "US": ("United States", "USA", "United States of America"),
    "UAE": ("United Arab Emirates",),
    "United States": ("US", "USA"),
    "United Kingdom": ("UK", "Britain"),
}
_MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
_TITLES = (
    "(?:(?:(?:Acting|Interim|Transitional|Federal|State|Executive|Vice|Deputy)\\s)*"
    "(?:President|Prime Minister|Premier|Chancellor|Chairman|King|Queen|Sultan|Amir|Emir|Emperor|"
    "Grand Duke|Prince|Taoiseach|Governor|Captain|General|Gen\\.|Dr\\.|Sir|Sheikh|Pope))\\b\\.?"
)
_PERSON = re.compile(rf"((?:{_TITLES}\s+)+)([^(),;]+?) \(since [^)]*\)(?!,? (?:and|[A-Z]))")


def first_value(max_words: int = 5) -> Callable[[str], Answers]:
    """What stands before the first bracket, semicolon or colon, if it is one short value."""

    def find(text: str) -> Answers:
        value = re.split(r" \(|[;:]", text, maxsplit=1)[0].strip().rstrip(".")
        several = "," in value or "/" in value or " or " in value or "capital" in text
        if not value or _NOTHING.match(value) or several or len(value.split()) > max_words:
            return ()
        return (value,)

    return find


def amount(unit: str = "", *same_units: str) -> Callable[[str], Answers]:
    """The number in front, with its unit; right too are the number alone and other unit names."""

    def find(text: str) -> Answers:
        gap = " " if unit and unit != "%" else ""
        match = re.match(rf"({_NUMBER}){gap}{re.escape(unit)}(?![\w%])", text)
        if match is None or text.startswith("0 "):
            return ()
        number = match[1]
        others = [f"{number} {other}" for other in same_units]
        return tuple(dict.fromkeys([f"{number}{gap}{unit}", *others, number]))

    return find


percent = amount("%", "percent", "per cent")


def rate(unit: str, *same_units: str) -> Callable[[str], Answers]:
    """The number in front of a long unit, alone; right too is the number with its unit."""

    def find(text: str) -> Answers:
        return amount(unit, *same_units)(text)[::-1]

    return find


def count(text: str) -> Answers:
    """A number of people, dollars or the like, without a unit behind it."""
    match = re.match(rf"({_NUMBER})(?= \(|;|$)", text)
    return (match[1],) if match and match[1] != "0" else ()


def place(text: str) -> Answers:
    """The name in 'Pico da Neblina 2,994 m', or 'Mount X (on Y) 12 m'."""
    match = re.match(r"([^\d(;,/]+?)(?: \([^)]*\))? -?\d[\d,.]* m\b(?!.*;(?! note))", text)
    return () if match is None or _NOTHING.match(match[1]) else (match[1],)


def height(text: str) -> Answers:
    """The elevation in 'Pico da Neblina 2,994 m'."""
    match = re.match(r"[^\d;]+ (\d[\d,.]*) m\b(?!.*;(?! note))", text)
    return () if match is None else (f"{match[1]} m", f"{match[1]} meters", match[1])


def official_language(text: str) -> Answers:
    """The one language that is official."""
    match = re.match(r"([A-Z][\w' -]*?) \(official", text)
    return (match[1],) if match and text.count("official") == 1 else ()


def leading_share(text: str) -> Answers:
    """The first of 'China 18%, US 12.1%', if its share is the largest."""
    plain = re.sub(r" \([^()]*(?:\([^()]*\)[^()]*)*\)", "", text)
    first = re.match(rf"([A-Z][^,;%\d()]*?)(?: {_ABOUT})? (\d+(?:\.\d+)?)%", plain)
    shares = [float(share) for share in re.findall(r"(\d*\.?\d+)%", plain)]
    if first is None or " or " in first[1] or float(first[2]) <= max(shares[1:], default=0.0):
        return ()
    # What is in brackets may have stood within the name.
    return (first[1], *_OTHER_NAMES.get(first[1], ())) if first[1] in text else ()


def largest_city(text: str) -> Answers:
    """The one with the most people, of two or more."""
    cities = re.findall(rf"(?:^|; )([^;(\d]+?)(?: \([^)]*\))? ({_NUMBER})", text)
    if len(cities) < 2:
        return ()
    name, _ = max(cities, key=lambda city: _value(city[1]))
    return (_lower_capitals(name),)


def _value(number: str) -> float:
    digits, _, scale = number.replace(",", "").partition(" ")
    return float(digits) * {"": 1.0, "million": 1e6, "billion": 1e9, "trillion": 1e12}[scale]


def only_symbol(text: str) -> Answers:
    """The symbol of 'SYMBOL (WHAT IT IS); national colors: ...', if it is the only one."""
    symbols = re.split(r"; (?:note|national color)", text)[0]
    if "," in re.sub(r"\([^)]*\)", "", symbols) or symbols.startswith("national color"):
        return ()
    return first_value()(symbols)


def only_title(text: str) -> Answers:
    """The one title in quotation marks."""
    titles = re.findall(r'"([^"]+)"', text)
    return (titles[0],) if len(titles) == 1 and text.startswith('"') else ()


def independence_date(text: str) -> Answers:
    """The only date, in 'D Month YYYY (from ...)'."""
    dates = re.findall(rf"\d{{1,2}} (?:{_MONTHS}) \d{{4}}", text)
    if len(dates) != 1 or not re.match(rf"{dates[0]} \(from", text):
        return ()
    return (dates[0], _month_first(dates[0]))


def independence_from(text: str) -> Answers:
    """The power in '... (from the UK)'."""
    match = re.match(r"[^(;]*\(from (?:the )?([A-Z][^();,]*)\)", text)
    if match is None or len(match[1].split()) > 4 or " by " in match[1] or " under " in match[1]:
        return ()
    return (match[1], *_OTHER_NAMES.get(match[1], ()))


def _holiday(text: str) -> re.Match[str] | None:
    main = re.split(r"; note|;? note - ", text)[0]
    pattern = rf"([A-Z][^,(;]*?)(?: \([^)]*\))?, (\d{{1,2}} (?:{_MONTHS}))(?: \(\d{{4}}\))?$"
    return re.match(pattern, main.strip())


def holiday(text: str) -> Answers:
    """The name of the one holiday of 'NAME, D Month (YYYY)'."""
    match = _holiday(text)
    return () if match is None else (match[1],)


def holiday_date(text: str) -> Answers:
    """The date of the same."""
    match = _holiday(text)
    return () if match is None else (match[2], _month_first(match[2]))


def _month_first(date: str) -> str:
    day, month, *year = date.split()
    return ", ".join([f"{month} {day}", *year])


def person(text: str) -> Answers:
    """The name after a title; right too is the surname, and the name with the title."""
    match = _PERSON.match(text)
    if match is None or re.search(r"\b(?:and|of|the|Minister)\b", match[2]):
        return ()
    surname = re.search(r"(?<![\w-])[A-Z][A-Z'-]+(?:\s[A-Z][A-Z'-]+)*(?![\w-])", match[2])
    name = _lower_capitals(match[2].strip())
    others = [_lower_capitals(surname[0])] if surname else []
    return tuple(dict.fromkeys((name, *others, f"{match[1].strip()} {name}")))


def _lower_capitals(name: str) -> str:
    """'Dilma ROUSSEFF' as 'Dilma Rousseff'; a Roman number after a name stays."""

    def lower(match: re.Match[str]) -> str:
        is_number = match.start() > 0 and re.fullmatch("[IVX]+", match[0])
        return match[0] if is_number or not match[0].isupper() else match[0].capitalize()

    return re.sub(r"[^\W\d_]{2,}", lower, name)


def currency(text: str) -> Answers:
    """The name in 'reals (BRL) per US dollar'."""
    match = re.match(r"([^\d();:]+?) \(([A-Z]{3})\) per US dollar", text)
    if match is None:
        return ()
    singular = match[1].removesuffix("s")
    return tuple(dict.fromkeys((match[1], singular, match[2])))


def currency_code(text: str) -> Answers:
    """The code in it."""
    found = currency(text)
    return found[-1:]


def matching(pattern: str) -> Callable[[str], Answers]:
    """What the group of a pattern finds."""

    def find(text: str) -> Answers:
        match = re.search(pattern, text)
        return () if match is None else (match[1],)

    return find
