"""Augmentations by rule: how many, how long, how true, and lessons made of them."""

import inspect
import random
import re
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from smem_jax.data import wordings
from smem_jax.data.active_reading import BuiltIn, notes, strategies
from smem_jax.data.active_reading.augmenter import first_sentences
from smem_jax.data.active_reading.notes import notes_of
from smem_jax.data.byte_tokenizer import ByteTokenizer
from smem_jax.data.factbook import Profile, chunks, questions, read_profiles
from smem_jax.data.factbook.lessons import lessons, quiz
from smem_jax.errors import InputError

SLICE = Path(__file__).resolve().parents[2] / "configs" / "stream_data" / "factbook"
TOKENIZER = ByteTokenizer()
# Words that the forms themselves bring in.
FORM_WORDS = {
    word.lower()
    for module in (strategies, notes, wordings)
    for word in re.findall(r"[^\W\d_]+", inspect.getsource(module).replace("\\n", " "))
}
WORDINGS = (SLICE.parents[2] / "smem_jax/data/factbook/wordings.jsonl").read_text()


@pytest.fixture(scope="module")
def jordan() -> Profile:
    return next(p for p in read_profiles(SLICE / "middle-east") if p.name == "Jordan")


def _numbers(text: str) -> set[str]:
    return set(re.findall(r"\d+(?:[.,]\d+)*", text))


def _names(text: str) -> set[str]:
    return {word.lower() for word in re.findall(r"\b[A-Z][^\W\d]*", text)}


def _words(text: str) -> set[str]:
    return {word.lower() for word in re.findall(r"[^\W\d]+", text)}


def _assert_faithful(text: str, source: str, other_words: set[str]) -> None:
    assert _numbers(text) <= _numbers(source), text
    assert _names(text) <= _words(source) | FORM_WORDS | other_words, text


def test_sixty_four_distinct_faithful_augmentations_of_every_chunk(jordan):
    augmenter = BuiltIn(TOKENIZER, 1500, quiz)
    asking_words = _words(WORDINGS)
    for chunk in chunks(jordan, TOKENIZER, 1000)[:10]:
        texts = augmenter.augment(chunk.title, chunk.text, 64, seed=0)
        assert len(set(texts)) == 64
        for text in texts:
            assert len(TOKENIZER.encode(text)) <= 1500
            # 'births per 1,000' stands in a wording, and in the field as 'births/1,000'.
            _assert_faithful(text, f"{chunk.title} {chunk.text}", asking_words)


def test_no_held_out_wording_is_augmented_and_every_training_wording_is(jordan):
    augmenter = BuiltIn(TOKENIZER, 2500, quiz)
    for chunk in chunks(jordan, TOKENIZER, 1200)[1:5]:
        together = "\n".join(augmenter.augment(chunk.title, chunk.text, 64, 0)).casefold()
        for question in questions(chunk.title, chunk.text):
            for held_out in question.held_out:
                assert held_out.casefold() not in together
            for trained in question.trained:
                prompt = strategies.QUESTION_FRAME.format(question=trained)
                assert f"{prompt} {question.accepted[0]}".casefold() in together


_LINE = st.text(alphabet="abcdEFG 0123456789.,;%{}", min_size=1, max_size=50)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["Area - total", "GDP", ""]), _LINE), max_size=4))
@example([("Area - total", "0.1950"), ("GDP", "2010.5")])  # which are no years
def test_any_text_gives_faithful_augmentations_or_an_error(lines):
    source = "\n".join(f"{label}: {text}" if label else text for label, text in lines)
    augmenter = BuiltIn(TOKENIZER, 400)
    if not notes_of(source):
        with pytest.raises(InputError, match=r"0 distinct .* 16 are asked for"):
            augmenter.augment("Xyland: Geo", source, 16, seed=1)
        return
    texts = augmenter.augment("Xyland: Geo", source, 16, seed=1)
    assert texts == augmenter.augment("Xyland: Geo", source, 16, seed=1)
    assert len(set(texts)) == 16
    for text in texts:
        assert len(TOKENIZER.encode(text)) <= 400
        assert _numbers(text) <= _numbers(source)
        unknown = _names(text) - _words(f"Xyland Geo {source}") - FORM_WORDS
        assert not unknown, text


def test_seeds_differ_and_more_begin_with_the_same(jordan):
    chunk = chunks(jordan, TOKENIZER, 1000)[1]
    augmenter = BuiltIn(TOKENIZER, 1500, quiz)
    few, many, others = (
        augmenter.augment(chunk.title, chunk.text, count, seed)
        for count, seed in ((8, 0), (20, 0), (8, 1))
    )
    assert many[:8] == few
    assert len(set(few) & set(others)) <= 2


def test_one_short_fact_gives_sixty_four_texts():
    texts = BuiltIn(TOKENIZER, 200).augment("Xyland: Air", "Heliports: 13 (2013)", 64, 0)
    assert len(set(texts)) == 64
    assert all("13 (2013)" in text for text in texts)


def test_asked_questions_stand_alone_in_every_wording_and_frame(jordan):
    augmenter = BuiltIn(TOKENIZER, 400, quiz, strategies.named(["asked"]))
    chunk = next(c for c in chunks(jordan, TOKENIZER, 1200) if "Coastline" in c.text)
    texts = set()
    for question in questions(chunk.title, chunk.text):
        answer = question.accepted[0]
        texts |= {
            f"{prompt} {answer}"
            for prompt in wordings.prompts(question.trained, wordings.TRAINING_FRAMES)
        }
    found = augmenter.augment(chunk.title, chunk.text, len(texts) + 20, 0)
    assert set(found[: len(texts)]) == texts
    # There are no more of these, so the others follow.
    assert len(set(found)) == len(texts) + 20
    # One that fills the length has no room for the line break that its answer ends with.
    longest = max(len(TOKENIZER.encode(text)) for text in texts)
    for room, fits in ((longest, False), (longest + 1, True)):
        augmenter = BuiltIn(TOKENIZER, room, quiz, strategies.named(["asked"]))
        found = texts & set(augmenter.augment(chunk.title, chunk.text, len(texts), 0))
        assert (max(len(TOKENIZER.encode(text)) for text in found) == longest) == fits


def test_strategies_take_the_turns_that_are_asked_for(jordan):
    chunk = next(c for c in chunks(jordan, TOKENIZER, 1200) if "Coastline" in c.text)
    names = ["asked", "asked", "headings"]
    texts = BuiltIn(TOKENIZER, 1500, quiz, strategies.named(names)).augment(
        chunk.title, chunk.text, 9, 0
    )
    assert [text.startswith("# ") for text in texts] == [False, False, True] * 3
    with pytest.raises(InputError, match=r"'poem' must be one of questions, restate, .*, asked"):
        strategies.named(["asked", "poem"])


def test_a_sequence_that_no_note_fits_is_an_error():
    with pytest.raises(InputError, match=r"Xyland: 0 distinct augmentations of at most 8 tokens"):
        BuiltIn(TOKENIZER, 8).augment("Xyland", "Area: 20 sq km", 4, 0)


@pytest.mark.parametrize("strategy", strategies.STRATEGIES, ids=lambda s: s.name)
def test_each_strategy_keeps_value_and_label_together(strategy):
    text = "Area: 20 sq km\nPopulation: 77 people (2014)\nBackground: It was a kingdom until 1931."
    study = strategies.Study("Xyland", notes_of(text), (), random.Random(3), 0)
    items = strategy.items(study)
    assert items
    for item in items:
        # A note's number never comes with another note's label.
        for number, label in (("20 sq", "area"), ("77", "population"), ("1931", "background")):
            others = {"area", "population", "background"} - {label}
            assert number not in item or not any(other in item.lower() for other in others), item


def test_gaps_are_filled_by_what_was_hidden():
    text = "Background: All was well. In 1931 the Kingdom fell after 6.5% of Votes were cast."
    seen = set()
    for seed in range(30):
        study = strategies.Study("Xyland", notes_of(text), (), random.Random(seed), 0)
        for item in strategies._cloze(study):
            sentence, _, hidden = item.partition("\nMissing: ")
            filled = sentence.replace("____", hidden)
            assert "In 1931 the Kingdom fell after 6.5% of Votes" in filled, filled
            seen.add(hidden)
    assert seen == {"1931", "Kingdom", "6.5%", "Votes"}


def test_a_timeline_is_in_order_of_years(jordan):
    background = chunks(jordan, TOKENIZER, 3000)[0]
    timeline = next(s for s in strategies.STRATEGIES if s.name == "timeline")
    study = strategies.Study("Jordan", notes_of(background.text), (), random.Random(0), 0)
    years = [int(re.search(r"\d{4}", item)[0]) for item in timeline.items(study)]
    assert len(years) >= 3 and years == sorted(years)


def test_first_sentences_fit():
    text = "One here. Two here.\nThree here."
    assert first_sentences(text, TOKENIZER, 100) == text
    assert first_sentences(text, TOKENIZER, 25) == "One here. Two here."
    assert first_sentences(text, TOKENIZER, 10) == "One here."
    assert first_sentences(text, TOKENIZER, 5) == ""


def test_lessons_follow_the_documents_with_probes_of_both_kinds(jordan):
    augmenter = BuiltIn(TOKENIZER, 1500, quiz)
    made, left_out = lessons(
        [jordan], augmenter, TOKENIZER, chunk_tokens=1000, passages=48, seed=0, max_lessons=3
    )
    assert [lesson.id for lesson in made] == [
        c.id for c in chunks(jordan, TOKENIZER, 1000) if questions(c.title, c.text)
    ][:3]
    assert left_out == {"no_question": 2, "no_probe": 0}
    assert {lesson.document for lesson in made} == {"jo"}
    for lesson in made:
        assert len(lesson.passages) == 48
        assert all(passage.prompt == "" for passage in lesson.passages)
        together = "\n".join(passage.target for passage in lesson.passages)
        for probe in lesson.probes:
            assert (probe.prompt in together) == (probe.kind == "trained")
        assert {probe.kind for probe in lesson.probes} == {"trained", "reworded"}


def test_of_a_question_that_stands_alone_the_answer_is_learned(jordan):
    augmenter = BuiltIn(TOKENIZER, 1500, quiz, strategies.named(["asked", "frames"]))
    made, _ = lessons(
        [jordan], augmenter, TOKENIZER, chunk_tokens=1000, passages=8, seed=0, max_lessons=3
    )
    for lesson in made:
        asked, others = lesson.passages[::2], lesson.passages[1::2]
        assert {passage.target for passage in asked} <= {p.accepted[0] for p in lesson.probes}
        assert all(passage.prompt for passage in asked)
        assert all(passage.prompt == "" for passage in others)


class _Parrot:
    """Says everything there is to be probed, held-out wordings as well."""

    def augment(self, chunk_title: str, chunk_text: str, count: int, seed: int) -> list[str]:
        asked = questions(chunk_title, chunk_text)
        return [" ".join(w for q in asked for w in q.held_out)] * count


def test_a_wording_that_was_trained_on_is_no_reworded_probe(jordan):
    made, left_out = lessons(
        [jordan], _Parrot(), TOKENIZER, chunk_tokens=1000, passages=2, seed=0, max_lessons=3
    )
    assert made == []
    assert left_out["no_probe"] >= 5 and left_out["no_question"] >= 2
