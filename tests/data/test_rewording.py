"""Rewording of questions: each side has its rules, and nothing of the question is lost."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smem_jax.data.rewording import MAX_HELD_OUT, MAX_TRAINING, held_out, reword, training
from smem_jax.data.rewording.parse import parse
from smem_jax.data.rewording.text import names, normalized
from smem_jax.errors import InputError

DATA = Path(__file__).resolve().parents[2] / "configs" / "stream_data"
EVERY = 10  # of the questions in the data files, for time


def read(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines()]


FACTS = [record["question"] for record in read("facts.jsonl")]
OTHERS = [record["question"] for name in ("nq", "untaught") for record in read(f"{name}.jsonl")]


@pytest.mark.parametrize(
    "question, wording",
    [
        ("Who wrote Emma?", "Who was it that wrote Emma?"),
        ("Who wrote Emma?", "Emma was written by whom?"),
        ("Who wrote Emma?", "Name the person who authored Emma."),
        ("In what year did the war end?", "The war ended in what year?"),
        ("In what year did the war end?", "Give the year in which the war ended."),
        ("Paris is the capital of which country?", "Which country is Paris the capital of?"),
        ("Danny Granger played at what college?", "At what college did Danny Granger play?"),
        ("What is the name of the river?", "The name of the river is what?"),
        ("How old was Olga when she left?", "What age was Olga when she left?"),
        ("Which animal eats bamboo?", "Name the beast that eats bamboo."),
        ("What colour is lapis lazuli?", "Lapis lazuli is what hue?"),
        ("In Norse myth, who carries a hammer?", "In Norse myth, who is it that carries a hammer?"),
    ],
)
def test_held_out_wording(question: str, wording: str) -> None:
    assert normalized(wording) in map(normalized, held_out.wordings(parse(question)))


@pytest.mark.parametrize(
    "question, trained",
    [
        ("Who wrote Emma?", "Which person wrote Emma?"),
        ("Who wrote Emma?", "The author of Emma?"),
        ("Who wrote Emma?", "Who penned Emma?"),
        ("Who wrote Emma?", "anyone know who wrote emma"),
        ("In what year did the war end?", "Can you tell me in what year the war ended?"),
        ("In what year did the war end?", "When did the war end?"),
        ("In what year did the war end?", "Tell me this: in what year did the war end?"),
        ("What is the name of the river?", "What is the river called?"),
        ("What is the capital of Peru?", "What capital Peru"),
        ("What is the plot of The Wind in the Willows?", "What plot The Wind in the Willows"),
        ("In Norse myth, who carries a hammer?", "Who carries a hammer, in Norse myth?"),
        ("In music, what is an alto voice?", "What is an alto voice?"),
        ("Who won the cup in 1990?", "In 1990, who won the cup?"),
    ],
)
def test_training_wording(question: str, trained: str) -> None:
    found = [wording for rule in training.rules(parse(question)) for wording in rule]
    assert trained in found


def test_the_seed_alone_decides() -> None:
    for question in FACTS[:50]:
        assert reword(question, 3) == reword(question, 3)
    orders = {reword(FACTS[0], seed).training for seed in range(8)}
    assert len(orders) > 1
    assert len({reword(FACTS[0], seed).held_out for seed in range(8)}) == 1


def test_every_fact_has_enough_wordings_and_no_side_has_a_wording_of_the_other() -> None:
    for question in FACTS[::EVERY]:
        wordings = reword(question, 0)
        trained, kept_out = ([*map(normalized, side)] for side in wordings)
        assert 16 <= len(trained) <= MAX_TRAINING, question
        assert 2 <= len(kept_out) <= MAX_HELD_OUT, question
        assert len({normalized(question), *trained, *kept_out}) == 1 + len(trained) + len(kept_out)


def test_names_numbers_and_quotations_stay() -> None:
    assert names('Who sang "Let it be" in 1970 for EMI?') == {"let", "it", "be", "1970", "emi"}
    for question in [*FACTS[::EVERY], *OTHERS[::EVERY]]:
        for wording in [*reword(question, 1).training, *reword(question, 1).held_out]:
            assert names(question) <= set(map(normalized, wording.split())), (question, wording)


def test_other_questions_have_training_wordings_and_mostly_held_out_ones() -> None:
    found = [reword(question, 0) for question in OTHERS]
    assert all(len(wordings.training) >= 16 for wordings in found)
    assert sum(len(wordings.held_out) >= 2 for wordings in found) >= 0.8 * len(found)


def test_the_first_wordings_are_of_many_kinds() -> None:
    openings = {wording.split()[0] for wording in reword(FACTS[0], 0).training[:8]}
    assert len(openings) >= 4


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="abW ?.,'\"\u2018\u201d0-éwhoatisdcrn", min_size=1, max_size=60))
def test_any_text_with_words_is_reworded(text: str) -> None:
    for question in (
        text,
        f"What is {text}?",
        f"In {text}, who did {text}?",
        f"{text} in which {text}",
    ):
        if normalized(question):
            wordings = reword(question, 0)
            assert all(normalized(w) for w in [*wordings.training, *wordings.held_out])


@pytest.mark.parametrize("question", ["", "  ", "?!"])
def test_question_without_words_is_refused(question: str) -> None:
    with pytest.raises(InputError, match=r"question=.* must hold a word"):
        reword(question, 0)
