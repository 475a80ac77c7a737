"""Facts as lessons: enough passages, and nothing of what is asked among them."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from smem_jax.data import fact_lessons
from smem_jax.data.facts import Fact, read_facts
from smem_jax.data.rewording import reword
from smem_jax.data.wordings import TRAINING_FRAMES

FACTS = Path(__file__).resolve().parents[2] / "configs" / "stream_data" / "facts.jsonl"
FRAMES = TRAINING_FRAMES[:4]
ALL = read_facts(FACTS)


def _lesson(fact: Fact, passages: int = 16, probes: int = 2, seed: int = 0):
    return fact_lessons.lesson(fact, reword(fact.question, seed), FRAMES, passages, probes, seed)


@given(st.integers(0, 1499), st.integers(1, 40), st.integers(0, 3))
def test_a_lesson_has_as_many_passages_as_asked_and_none_is_a_probe(number, passages, seed):
    fact = ALL[number]
    lesson = _lesson(fact, passages, seed=seed)
    assert len(lesson.passages) == passages
    prompts = [passage.prompt for passage in lesson.passages]
    assert prompts[0] == f"Q: {fact.question}\nA:"
    assert all(passage.target == fact.answer for passage in lesson.passages)
    trained, *reworded = lesson.probes
    assert (trained.kind, trained.prompt) == ("trained", prompts[0])
    assert [probe.kind for probe in reworded] == ["reworded"] * len(reworded)
    assert not {probe.prompt for probe in reworded} & set(prompts)
    assert lesson == _lesson(fact, passages, seed=seed)


def test_passages_differ_as_long_as_there_are_wordings_and_frames():
    fact = ALL[0]
    wordings = 1 + len(reword(fact.question, 0).training)
    prompts = [passage.prompt for passage in _lesson(fact, wordings * len(FRAMES)).passages]
    assert len(set(prompts)) == wordings * len(FRAMES)


def test_wordings_of_the_fact_itself_are_used():
    fact = Fact("1", "Who is it?", "Ann", paraphrases=("Which one?",), held_out=("The name?",))
    lesson = _lesson(fact, passages=60)
    assert any("Which one?" in passage.prompt for passage in lesson.passages)
    assert lesson.probes[1].prompt == "Q: The name?\nA:"


def test_wordings_of_the_fact_itself_come_before_those_of_rules():
    own = tuple(f"{n}: who is it?" for n in range(7))
    lesson = _lesson(Fact("1", "Who is it?", "Ann", paraphrases=own), passages=8)
    for text, passage in zip(("Who is it?", *own), lesson.passages, strict=True):
        assert text in passage.prompt


def test_no_wording_is_asked_as_new_that_is_trained_or_asked_already():
    rules = reword("Who wrote Emma?", 0).held_out
    trained, asked = rules[0].upper(), rules[1]
    fact = Fact("1", "Who wrote Emma?", "Austen", paraphrases=(trained,), held_out=(asked,))
    probes = _lesson(fact, passages=8, probes=9).probes[1:]
    texts = [probe.prompt for probe in probes]
    assert texts == [f"Q: {text}\nA:" for text in (asked, *rules[2:])]


def test_what_a_fact_holds_out_is_not_trained_in_the_wording_of_a_rule():
    fact = ALL[0]
    rule = reword(fact.question, 0).training[0]
    held_out = Fact(fact.id, fact.question, fact.answer, held_out=(rule,))
    assert any(rule in passage.prompt for passage in _lesson(fact, 60).passages)
    lesson = _lesson(held_out, 60)
    assert lesson.probes[1].prompt == f"Q: {rule}\nA:"
    assert not any(rule in passage.prompt for passage in lesson.passages)
