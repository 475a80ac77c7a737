"""Text cut into sentences, by rule."""

import re

# A full stop after these, or after a single capital letter, does not end a sentence.
_SHORT_FORMS = re.compile(
    r"(?:\b(?:St|Mt|Dr|Mr|Mrs|Ms|Gen|Col|Sen|Gov|No|Jr|Sr|vs|ca|est|approx|e\.g|i\.e)|\b[A-Z])\.$"
)
_BREAK = re.compile(r"(?<=[.!?])[\"')]*\s+(?=[\"'(]?[A-Z0-9])")


def sentences(text: str) -> list[str]:
    """The sentences of a text, white space made single spaces; joined by spaces they give it back.

    >>> sentences("St. Lucia is an island. It lies in the  Caribbean.")
    ['St. Lucia is an island.', 'It lies in the Caribbean.']
    """
    text = " ".join(text.split())
    found: list[str] = []
    start = 0
    for match in _BREAK.finditer(text):
        before = text[start : match.end()].rstrip()
        if not _SHORT_FORMS.search(before):
            found.append(before)
            start = match.end()
    return [*found, text[start:]] if text[start:] else found
