"""The parts that questions are taken apart into, and the tables of words."""

import pytest

from smem_jax.data.rewording import synonyms, verbs
from smem_jax.data.rewording.parse import parse
from smem_jax.data.rewording.synonyms import HELD_OUT, TRAINING, substituted


@pytest.mark.parametrize(
    "question, kind, asked, statement",
    [
        ("Who wrote Emma?", "subject", "who", "wrote Emma"),
        ("Which river is long?", "subject", "which river", "is long"),
        ("What did Ann invent in 1943?", "clause", "what", "Ann invented in 1943"),
        ("Where is the Louvre?", "clause", "where", "the Louvre is"),
        ("In which city was Bach born?", "clause", "in which city", "Bach was born"),
        ("What year was X built?", "clause", "what year", "X was built"),
        ("What is solid CO2 called?", "clause", "what", "solid CO2 is called"),
        ("What does Meg want?", "clause", "what", "Meg wants"),
        ("The sea lies in what land?", "in_situ", "in what land", "the sea lies"),
        ("What island is Bo's dad from?", "clause", "what island", "Bo's dad is from"),
        ("Who has a hit with Exile?", "subject", "who", "has a hit with Exile"),
        ("Is that so?", "whole", "", ""),
    ],
)  # fmt: skip
def test_parts(question: str, kind: str, asked: str, statement: str) -> None:
    parsed = parse(question)
    assert (parsed.kind, parsed.asked, parsed.statement) == (kind, asked, statement)


@pytest.mark.parametrize(
    "question, lead",
    [
        ("In Norse myth, who carries a hammer?", "in Norse myth"),
        ("In the 80s who wrote the novel Empire of The Sun?", "in the 80s"),
        ("In 1953 Malcolm X went to what city?", ""),
        ("On what date was it founded?", ""),
        ("The goat Amalthea, which nursed Zeus, is represented by what constellation?", ""),
    ],
)
def test_lead(question: str, lead: str) -> None:
    assert parse(question).lead == lead


def test_forms_of_verbs() -> None:
    assert [verbs.past(verb) for verb in ("write", "star", "marry", "live")] == [
        "wrote", "starred", "married", "lived",
    ]  # fmt: skip
    assert [verbs.third_person(verb) for verb in ("have", "go", "pass", "marry", "play")] == [
        "has", "goes", "passes", "marries", "plays",
    ]  # fmt: skip
    assert verbs.base("wrote") == verbs.base("writes") == "write"
    assert verbs.base("emma") == ""


def test_tables_of_synonyms_share_no_substitute() -> None:
    trained, held_out = synonyms._table(TRAINING), synonyms._table(HELD_OUT)
    assert not set(trained.items()) & set(held_out.items())
    assert not set(trained.values()) & set(held_out.values())


def test_substitution_spares_names_and_quotations_and_mends_the_article() -> None:
    text = "Who wrote a movie 'a famous movie' by Famous Movie?"
    assert substituted(text, TRAINING) == "Who penned a film 'a famous movie' by Famous Movie?"
    assert substituted("Who is an actor?", HELD_OUT) == "Who is a thespian?"
    assert (
        substituted("Who wrote a famous movie?", TRAINING, at_most=1)
        == "Who penned a famous movie?"
    )
