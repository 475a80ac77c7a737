"""The quickstart's data: what is taught, what is held out and what is measured stay apart."""

import difflib
import importlib.util
import json
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "configs" / "quickstart_data"
SOURCE = ROOT / ".." / "shared" / "data"
MADE = ("background_qa.jsonl", "background_text.txt", "eval_nq.jsonl", "eval_wikitext.txt")


def load_make_slices() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_slices", DATA / "make_slices.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


slices = load_make_slices()


def read(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines()]


def plain(text: str) -> str:
    """A text without case, punctuation and extra blanks."""
    return " ".join(slices.words(text))


def training_wordings(fact: dict[str, Any]) -> list[str]:
    return [fact["question"], *fact["paraphrases"]]


FACTS = read("facts.jsonl")
each_fact = pytest.mark.parametrize("fact", FACTS, ids=lambda fact: str(fact["id"]))


def test_there_are_twenty_five_facts_about_different_things() -> None:
    assert len(FACTS) == 25
    assert len({fact["id"] for fact in FACTS}) == 25
    assert len({plain(fact["answer"]) for fact in FACTS}) == 25


@each_fact
def test_fact_has_short_answer_and_enough_wordings(fact: dict[str, Any]) -> None:
    assert len(fact["answer"].split()) in range(1, 5)
    assert len(fact["paraphrases"]) >= 8
    assert len(fact["held_out"]) >= 3
    assert plain(fact["answer"]) in plain(fact["statement"])


@each_fact
def test_wordings_are_distinct_short_and_do_not_give_the_answer_away(fact: dict[str, Any]) -> None:
    wordings = [*training_wordings(fact), *fact["held_out"]]
    assert max(Counter(map(plain, wordings)).values()) == 1
    assert max(len(wording.split()) for wording in wordings) <= 30
    answer = f" {plain(fact['answer'])} "
    assert not [wording for wording in wordings if answer in f" {plain(wording)} "]


@each_fact
def test_held_out_wordings_are_no_near_copies_of_training_wordings(fact: dict[str, Any]) -> None:
    for held_out in fact["held_out"]:
        for trained in training_wordings(fact):
            left, right = slices.words(held_out), slices.words(trained)
            ratio = difflib.SequenceMatcher(None, left, right).ratio()
            shuffled = difflib.SequenceMatcher(None, sorted(left), sorted(right)).ratio()
            assert ratio < 0.75, (held_out, trained)
            assert shuffled < 0.9, (held_out, trained)


def test_no_held_out_wording_is_trained_for_another_fact() -> None:
    trained = {plain(wording) for fact in FACTS for wording in training_wordings(fact)}
    assert not trained & {plain(wording) for fact in FACTS for wording in fact["held_out"]}


@pytest.mark.parametrize("name, count", [("background_qa.jsonl", 2_500), ("eval_nq.jsonl", 200)])
def test_question_files_hold_distinct_questions_with_answers(name: str, count: int) -> None:
    records = read(name)
    assert len({plain(record["question"]) for record in records}) == len(records) == count
    for record in records:
        assert set(record) == {"question", "answers"}
        assert record["question"].strip() and record["answers"]
        assert all(answer.strip() for answer in record["answers"])


def test_background_questions_are_neither_evaluated_nor_about_a_fact() -> None:
    background, evaluated = read("background_qa.jsonl"), read("eval_nq.jsonl")
    wordings = {
        plain(text) for fact in FACTS for text in [*training_wordings(fact), *fact["held_out"]]
    }
    forbidden = wordings | {plain(record["question"]) for record in evaluated}
    assert not forbidden & {plain(record["question"]) for record in background}
    assert not [record for record in background if slices.touches_a_fact(record, FACTS)]


def test_a_question_with_subject_or_names_of_a_fact_is_recognised() -> None:
    facts = [{"question": "In what year was the Showstreet Palace built?", "answer": "1992"}]
    same_names = {"question": "who sang in the palace of showstreet", "answers": ["nobody"]}
    same_answer = {"question": "when did the showstreet open", "answers": ["1992"]}
    other = {"question": "In what year was the Opera built?", "answers": ["1993"]}
    assert slices.touches_a_fact(same_names, facts)
    assert slices.touches_a_fact(same_answer, facts)
    assert not slices.touches_a_fact(other, facts)


def test_texts_are_paragraphs_without_headings_and_share_none() -> None:
    background, evaluated = (
        (DATA / name).read_text(encoding="utf-8").splitlines()
        for name in ("background_text.txt", "eval_wikitext.txt")
    )
    assert not set(background) & set(evaluated)
    for line in background + evaluated:
        assert line.strip() == line != ""
        assert not line.startswith("= ")
    assert sum(map(len, background)) > 350_000
    assert sum(map(len, evaluated)) > 40_000


def test_folder_is_below_one_megabyte() -> None:
    assert sum(path.stat().st_size for path in DATA.iterdir() if path.is_file()) < 1_000_000


@pytest.mark.parametrize(
    "question, answer, kept",
    [
        ("What is the capital of Poland?", "Warsaw", True),
        ("Which of these is a capital?", "Warsaw", False),
        ("What is the capital of Poland?", "All of these", False),
        ("Warsaw is the capital of Poland?", "True", False),
        ("Warsaw is the capital of which country", "Poland", False),
        ("Which flag is in the picture?", "Poland's", False),
    ],
)
def test_only_free_questions_are_taken_from_multiple_choice(
    question: str, answer: str, kept: bool
) -> None:
    assert slices.is_free_question(question, answer) is kept


def test_typical_aliases_prefer_the_common_core_and_drop_oddities() -> None:
    aliases = ["Moon (planet)", "Planet Neptune", "N.E.P.T.U.N.E.", "Neptune", "Neptune planet"]
    assert slices.typical_aliases(aliases)[0] == "Neptune"
    assert "Moon (planet)" not in slices.typical_aliases(aliases)


@pytest.mark.skipif(not SOURCE.is_dir(), reason="the published data sets are not beside the clone")
def test_slices_are_remade_byte_for_byte_from_their_source(tmp_path: Path) -> None:
    slices.make_slices(SOURCE, tmp_path)
    for name in MADE:
        assert (tmp_path / name).read_bytes() == (DATA / name).read_bytes(), name
