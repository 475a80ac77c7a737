"""Exact match and F1 of short answers, with the normalisation of the SQuAD evaluation.

Of a text such as 'A+' that leaves nothing; else than there, it is then compared as it stands, so
that saying nothing is no right answer.
"""

import collections
import re
import string
from collections.abc import Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize(text: str) -> str:
    """Lower case, without ASCII punctuation and English articles, single spaces.

    >>> normalize("The Who?"), normalize("A+")
    ('who', 'a+')
    """
    text = text.lower()
    bare = _ARTICLES.sub(" ", text.translate(_WITHOUT_PUNCTUATION)).split()
    return " ".join(bare or text.split())


def exact_match(prediction: str, answers: Sequence[str]) -> float:
    """1.0 where `prediction` equals an accepted answer after normalisation, else 0.0."""
    normalized = normalize(prediction)
    return float(any(normalized == normalize(answer) for answer in answers))


def f1(prediction: str, answers: Sequence[str]) -> float:
    """The best F1 over the accepted answers, between bags of normalised words: 0.0 to 1.0."""
    return max((_f1_one(prediction, answer) for answer in answers), default=0.0)


def _f1_one(prediction: str, answer: str) -> float:
    predicted, expected = normalize(prediction).split(), normalize(answer).split()
    if not predicted or not expected:
        return float(predicted == expected)
    shared = sum((collections.Counter(predicted) & collections.Counter(expected)).values())
    return 2 * shared / (len(predicted) + len(expected))
