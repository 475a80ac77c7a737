"""Which questions are about the same thing: the rule that keeps the roles of the data apart."""

from collections import Counter, defaultdict
from collections.abc import Iterable

from published import Record, words

# A word in more questions than this says nothing about the subject of one.
RARE = 30


def rare_words(questions: Iterable[str]) -> frozenset[str]:
    """The words that at most RARE of the questions hold, and that are longer than three letters."""
    counts: Counter[str] = Counter()
    for question in questions:
        counts.update(set(words(question)))
    return frozenset(word for word, n in counts.items() if n <= RARE and len(word) > 3)


def share_subject(left: Record, right: Record, rare: frozenset[str]) -> bool:
    """Whether two questions have half of their words in common, or the same subject.

    The subject is the same where two rare words are shared, or one of them and an answer.
    """
    left_words, right_words = set(words(left["question"])), set(words(right["question"]))
    shared = left_words & right_words
    if 2 * len(shared) >= len(left_words | right_words):
        return True
    shared_rare = len(shared & rare)
    return shared_rare >= 2 or (shared_rare == 1 and bool(_answers(left) & _answers(right)))


def _answers(record: Record) -> set[str]:
    return {" ".join(words(answer)) for answer in record["answers"]}


class Taken:
    """The questions that have a role already."""

    def __init__(self, rare: frozenset[str], counts: Counter[str]):
        self._rare = rare
        self._counts = counts
        self._by_word: dict[str, list[Record]] = defaultdict(list)

    def add(self, record: Record) -> None:
        """Gives a question a role."""
        for word in set(words(record["question"])):
            self._by_word[word].append(record)

    def holds(self, record: Record) -> bool:
        """Whether a question with a role shares its subject with this one.

        Two questions that share half of their words share one of the rarer half of either; only
        these words, and the rare ones, need looking up.
        """
        ordered = sorted(set(words(record["question"])), key=lambda word: self._counts[word])
        telling = set(ordered[: len(ordered) // 2 + 1]) | (set(ordered) & self._rare)
        return any(
            share_subject(record, other, self._rare)
            for word in sorted(telling)
            for other in self._by_word[word]
        )
