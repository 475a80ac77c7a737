"""Cut the quickstart's background and evaluation slices from the published data sets.

    python configs/quickstart_data/make_slices.py SOURCE [--out FOLDER]

SOURCE holds nq_open/dev.jsonl, triviaqa/sample.jsonl, simpleqa/simpleqa_1k.jsonl,
open_triviaqa/questions.jsonl.gz and wikitext2/{valid,test}.txt.gz. The output depends on nothing
but these files, facts.jsonl and SEED. facts.jsonl itself is written by hand.
"""

import argparse
import gzip
import json
import random
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

SEED = 20250101
BACKGROUND_TEXT_BYTES = 400_000
EVAL_TEXT_BYTES = 45_000
EVAL_QUESTIONS = 200
# TriviaQA has only 510 questions to give; the others make up for it.
BACKGROUND_QUESTIONS = {"triviaqa": 470, "nq": 680, "open_triviaqa": 675, "simpleqa": 675}
MAX_QUESTION_WORDS = 28
MAX_ANSWER_WORDS = 6
MAX_ANSWERS = 3

Record = dict[str, Any]  # {"question": str, "answers": list[str]} after tidy()

# These words point at choices, pictures or sounds that the question alone does not have.
CHOICE_WORDS = re.compile(
    r"\b(these|those|following|listed|below|above|which (one|ones|two|three)|which of|"
    r"one of|except|odd one|not|true|false|this|picture[ds]?|image|photo|audio|clip)\b|n't\b",
    re.IGNORECASE,
)
CHOICE_ANSWERS = re.compile(
    r"^(true|false|yes|no|all|none|both|neither|any|either|it)\b|these|them\b", re.IGNORECASE
)
ASKING_WORDS = re.compile(r"\b(who|whom|whose|what|which|when|where|how)\b", re.IGNORECASE)


def words(text: str) -> list[str]:
    """Lower-case words of a text, without punctuation."""
    return re.sub(r"[^\w\s]", "", text.lower()).split()


def word_overlap(left: str, right: str) -> float:
    """Jaccard similarity of the sets of words of two texts, 0 to 1."""
    left_words, right_words = set(words(left)), set(words(right))
    return len(left_words & right_words) / max(1, len(left_words | right_words))


def read_json_lines(path: Path) -> Iterator[Record]:
    """The objects of a JSON-lines file, which may be gzipped."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as lines:
        yield from (json.loads(line) for line in lines if line.strip())


def paragraphs(path: Path, max_bytes: int) -> list[str]:
    """The first paragraphs of a WikiText file that fit into max_bytes, without the headings."""
    kept: list[str] = []
    room = max_bytes
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in map(str.strip, lines):
            if not line or (line.startswith("= ") and line.endswith(" =")):
                continue
            room -= len(line.encode()) + 1
            if room < 0:
                break
            kept.append(line)
    return kept


def typical_aliases(aliases: list[str]) -> list[str]:
    """The aliases found within most others: TriviaQA lists them in no order, oddities included."""
    plain = [alias for alias in aliases if re.fullmatch(r"[\w\s.&'\u2019!?-]+", alias)] or aliases

    def times_within_others(alias: str) -> int:
        return sum(set(words(alias)) <= set(words(other)) for other in aliases)

    distinct: dict[tuple[str, ...], str] = {}
    for alias in sorted(plain, key=lambda alias: (-times_within_others(alias), len(alias))):
        distinct.setdefault(tuple(words(alias)), alias)
    return list(distinct.values())[:MAX_ANSWERS]


def is_free_question(question: str, answer: str) -> bool:
    """Whether a multiple-choice question can be answered without seeing its choices."""
    return (
        question.endswith("?")
        and bool(ASKING_WORDS.search(question))
        and not CHOICE_WORDS.search(question)
        and not CHOICE_ANSWERS.search(answer)
        and "," not in answer
    )


def read_questions(source: Path) -> dict[str, list[Record]]:
    """All usable questions by data set, each in the order of its file."""
    nq = read_json_lines(source / "nq_open/dev.jsonl")
    trivia = read_json_lines(source / "triviaqa/sample.jsonl")
    simple = read_json_lines(source / "simpleqa/simpleqa_1k.jsonl")
    choice = read_json_lines(source / "open_triviaqa/questions.jsonl.gz")
    pairs: dict[str, Iterable[tuple[str, list[str]]]] = {
        "nq": ((row["question"], row["answer"][:MAX_ANSWERS]) for row in nq),
        "triviaqa": ((row["question"], typical_aliases(row["aliases"])) for row in trivia),
        "simpleqa": ((row["question"], [row["answer"].rstrip(" .\n")]) for row in simple),
        "open_triviaqa": (
            (row["question"], [row["answer"]])
            for row in choice
            if is_free_question(row["question"], row["answer"])
        ),
    }
    return {name: [tidy(*pair) for pair in found if fits(*pair)] for name, found in pairs.items()}


def fits(question: str, answers: list[str]) -> bool:
    """Whether question and answer are short and whole."""
    lengths_fit = len(question.split()) <= MAX_QUESTION_WORDS and all(
        0 < len(answer.split()) <= MAX_ANSWER_WORDS for answer in answers
    )
    return lengths_fit and "N/A" not in answers and "\ufffd" not in question + "".join(answers)


def tidy(question: str, answers: list[str]) -> Record:
    """One record with single blanks, no quotes around the whole question, none in the answers."""
    text = " ".join(question.replace('""', '"').split())
    if text.startswith('"') and text.endswith('"'):
        text = text[1:-1].strip()
    bare = [" ".join(answer.replace('"', "").split()) for answer in answers]
    return {"question": text, "answers": list(dict.fromkeys(bare))}


def touches_a_fact(record: Record, facts: list[Record]) -> bool:
    """Whether a question is about the subject of a taught fact.

    True if two of the names in the fact's question occur, or one of its words with its answer.
    """
    asked = set(words(record["question"]))
    answers = {tuple(words(answer)) for answer in record["answers"]}
    for fact in facts:
        names = set(words(" ".join(re.findall(r"\b[A-Z]\S+", fact["question"])[1:])))
        subject = {word for word in words(fact["question"]) if len(word) > 4}
        known = {tuple(words(answer)) for answer in [fact["answer"], *fact.get("aliases", [])]}
        if len(names & asked) >= 2 or (subject & asked and known & answers):
            return True
    return False


def choose_background(
    questions: dict[str, list[Record]], facts: list[Record], evaluation: list[Record]
) -> list[Record]:
    """A shuffled mix of the data sets that touches neither the facts nor the evaluation set."""
    random_source = random.Random(SEED + 1)
    evaluated = [record["question"] for record in evaluation]
    seen: set[tuple[str, ...]] = set()
    chosen: list[Record] = []
    for name, count in BACKGROUND_QUESTIONS.items():
        candidates = questions[name]
        taken = 0
        for record in random_source.sample(candidates, len(candidates)):
            if taken == count:
                break
            text = record["question"]
            key = tuple(words(text))
            if key in seen or touches_a_fact(record, facts):
                continue
            if any(word_overlap(text, other) >= 0.5 for other in evaluated):
                continue
            seen.add(key)
            chosen.append(record)
            taken += 1
    random_source.shuffle(chosen)
    return chosen


def write_json_lines(path: Path, records: list[Record]) -> None:
    lines = (json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    path.write_text("".join(lines), encoding="utf-8")


def make_slices(source: Path, out: Path) -> None:
    """Write the two texts and the two question files to the folder out."""
    facts = list(read_json_lines(Path(__file__).with_name("facts.jsonl")))
    questions = read_questions(source)
    evaluation = random.Random(SEED).sample(questions["nq"], EVAL_QUESTIONS)
    write_json_lines(out / "eval_nq.jsonl", evaluation)
    background = choose_background(questions, facts, evaluation)
    write_json_lines(out / "background_qa.jsonl", background)
    for name, origin, max_bytes in (
        ("background_text.txt", "valid", BACKGROUND_TEXT_BYTES),
        ("eval_wikitext.txt", "test", EVAL_TEXT_BYTES),
    ):
        kept = paragraphs(source / f"wikitext2/{origin}.txt.gz", max_bytes)
        (out / name).write_text("\n".join(kept) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", 1)[0])
    parser.add_argument("source", type=Path, help="folder of the published data sets")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="output folder")
    arguments = parser.parse_args()
    make_slices(arguments.source, arguments.out)


if __name__ == "__main__":
    main()
