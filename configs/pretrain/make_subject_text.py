"""Choose 2,500 trivia facts that the tiny subject will know, and write the text to learn them from.

    python configs/pretrain/make_subject_text.py --text runs/pretrain_text \
        --output runs/subject_text \
        --leave-out configs/stream_data/{facts,nq,untaught,trivia_choices}.jsonl

`--text` is what make_text.py has written; the facts are questions of its train.txt that can be
answered without choices. None has half of its words in common with a question of a `--leave-out`
file: what is to be taught is not known. Two files are made:

- `facts.jsonl`: the facts, {"id", "question", "answers"};
- `documents.jsonl`: for 'jsonl:FILE:text', one document for each fact and each frame of
  `smem_jax.data.wordings.TRAINING_FRAMES`, as many in the first frame, 'Q: ...', as in all others
  together, and of train.txt as many tokens, about, as there are in a third of these documents.
"""

import argparse
import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from smem_jax.data import wordings
from smem_jax.data.documents import open_documents
from smem_jax.data.jsonl import iter_objects

NUM_FACTS = 2500
MAX_QUESTION_WORDS, MAX_ANSWER_WORDS = 12, 3
OVERLAP = 0.5
ORDINARY_SHARE = 1 / 3  # of the bytes of the facts' documents

ASKING = re.compile(r"\b(who|whom|whose|what|which|when|where|how)\b", re.IGNORECASE)
# These point at choices, pictures or sounds that the question alone does not have.
CHOICES = re.compile(
    r"\b(these|those|following|listed|below|above|which (one|ones|two|three)|which of|one of|"
    r"except|odd one|not|true|false|this|pictured?|images?|photos?|clip)\b|n't\b",
    re.IGNORECASE,
)
CHOICE_ANSWERS = re.compile(r"^(true|false|yes|no|all|none|both|neither)\b|these|them", re.I)

Fact = dict[str, Any]


def words(text: str) -> frozenset[str]:
    """Lower-case words of a text, without punctuation."""
    return frozenset(re.sub(r"[^\w\s]", "", text.lower()).split())


def rank(text: str) -> str:
    """Gives texts an order that has nothing to do with where they come from."""
    return hashlib.sha256(text.encode()).hexdigest()


def candidates(documents: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Questions and answers that are short, and need no choices."""
    for text in documents:
        found = re.fullmatch(r"Question: (.+)\nAnswer: (.+)", text)
        if not found:
            continue
        question, answer = found.groups()
        if not question.endswith("?"):
            question += "?"
        is_free = ASKING.search(question) and not CHOICES.search(question)
        is_short = len(question.split()) <= MAX_QUESTION_WORDS
        fits = 1 <= len(answer.split()) <= MAX_ANSWER_WORDS and not CHOICE_ANSWERS.search(answer)
        if is_free and is_short and fits:
            yield question, answer


class Near:
    """Finds whether a question shares half of its words with one that was added."""

    def __init__(self) -> None:
        self._questions: list[frozenset[str]] = []
        self._with_word: dict[str, list[int]] = defaultdict(list)

    def add(self, question: str) -> None:
        """One more question to compare with."""
        asked = words(question)
        for word in asked:
            self._with_word[word].append(len(self._questions))
        self._questions.append(asked)

    def has(self, question: str) -> bool:
        """By the Jaccard similarity of the sets of words."""
        asked = words(question)
        shared: dict[int, int] = defaultdict(int)
        for word in asked:
            for number in self._with_word.get(word, ()):
                shared[number] += 1
        return any(
            count / (len(asked) + len(self._questions[number]) - count) >= OVERLAP
            for number, count in shared.items()
        )


def choose(documents: Iterable[str], leave_out: Iterable[Path]) -> list[Fact]:
    """The facts, no two of them nearly the same question."""
    near = Near()
    for path in leave_out:
        for _, record in iter_objects(path):
            near.add(record["question"])
    chosen: list[Fact] = []
    for question, answer in sorted(candidates(documents), key=lambda pair: rank(pair[0])):
        if len(chosen) == NUM_FACTS:
            break
        if not near.has(question):
            near.add(question)
            fact = {"id": f"subject-{len(chosen)}", "question": question, "answers": [answer]}
            chosen.append(fact)
    return chosen


def learned(facts: Iterable[Fact]) -> Iterator[str]:
    """What is trained on: an answer ends its document, so the model learns to end there."""
    first, *others = wordings.TRAINING_FRAMES
    frames = [first] * len(others) + others
    for fact in facts:
        for frame in frames:
            prompt = frame.replace("{question}", fact["question"])
            yield f"{prompt} {fact['answers'][0]}"


def write(path: Path, records: Iterable[dict[str, Any]]) -> None:
    lines = (json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    path.write_text("".join(lines), encoding="utf-8")


def make(text: Path, output: Path, leave_out: Iterable[Path]) -> dict[str, int]:
    """Writes both files, and returns how many facts and documents there are."""
    ordinary = list(open_documents(f"blocks:{text / 'train.txt'}"))
    facts = choose(ordinary, leave_out)
    documents = list(learned(facts))
    room = ORDINARY_SHARE * sum(map(len, documents))
    num_facts_documents = len(documents)
    for document in sorted(ordinary, key=rank):
        room -= len(document)
        if room < 0:
            break
        documents.append(document)
    output.mkdir(parents=True, exist_ok=True)
    write(output / "facts.jsonl", facts)
    write(output / "documents.jsonl", ({"text": document} for document in documents))
    ordinary_documents = len(documents) - num_facts_documents
    return {"facts": len(facts), "of_facts": num_facts_documents, "ordinary": ordinary_documents}


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", 1)[0])
    parser.add_argument("--text", type=Path, required=True, help="output folder of make_text.py")
    parser.add_argument("--output", type=Path, required=True, help="folder to write to")
    parser.add_argument("--leave-out", type=Path, nargs="+", default=[], metavar="FILE")
    arguments = parser.parse_args()
    print(json.dumps(make(arguments.text, arguments.output, arguments.leave_out)))


if __name__ == "__main__":
    main()
