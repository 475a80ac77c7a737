"""Facts, questions and text: what is read, and how what is malformed is refused."""

import json
from pathlib import Path

import pytest

from smem_jax.data import wordings
from smem_jax.data.facts import Fact, read_facts
from smem_jax.data.questions import Question, read_questions
from smem_jax.data.text import read_text
from smem_jax.errors import InputError

_FACT = {"question": "Who?", "answer": "Me"}


def _file(tmp_path: Path, *lines: object) -> Path:
    path = tmp_path / "lines.jsonl"
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(texts), encoding="utf-8")
    return path


def test_a_fact_needs_a_question_and_an_answer_only(tmp_path):
    more = _FACT | {"question": "Where?", "aliases": ["I"], "held_out": ["W?"], "id": 7}
    facts = read_facts(_file(tmp_path, _FACT, "", more))
    assert facts == [
        Fact("1", "Who?", "Me"),
        Fact("7", "Where?", "Me", aliases=("I",), held_out=("W?",)),
    ]
    assert facts[1].accepted == ("Me", "I")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not JSON"),
        ([1], "expected a JSON object"),
        ({"question": "Who?"}, "the field 'answer' is missing"),
        (_FACT | {"answer": 3}, "answer=3 must be text"),
        (_FACT | {"answer": " "}, "answer=' ' must be text"),
        (_FACT | {"paraphrase": []}, "unknown field 'paraphrase'; the nearest is 'paraphrases'"),
        (_FACT | {"aliases": "x"}, "aliases='x' must be a list"),
        (_FACT | {"held_out": ["Who?"]}, "which is trained on"),
        ({"question": "First?", "answer": "x"}, "question 'First\\?' stands at .*:1 already"),
    ],
)
def test_a_malformed_fact_is_refused_with_file_and_line(line, message, tmp_path):
    path = _file(tmp_path, {"question": "First?", "answer": "x"}, line)
    with pytest.raises(InputError, match=message) as caught:
        read_facts(path)
    assert f"{path}:2: " in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("read", [read_facts, read_questions, read_text])
def test_a_file_that_is_missing_or_empty_is_named(read, tmp_path):
    with pytest.raises(InputError, match=r"none\.jsonl: cannot be read"):
        read(tmp_path / "none.jsonl")
    with pytest.raises(InputError, match="the file is empty"):
        read(_file(tmp_path, " ", ""))


def test_questions_need_an_answer(tmp_path):
    right = {"question": "Who?", "answers": ["a", "b"]}
    assert read_questions(_file(tmp_path, right)) == [Question("Who?", ("a", "b"))]
    with pytest.raises(InputError, match=":1: answers"):
        read_questions(_file(tmp_path, right | {"answers": []}))


def test_every_wording_stands_in_every_frame():
    found = wordings.prompts(["A?", "B {x}?"], ["Q: {question}\nA:", "{question}"])
    assert found == ["Q: A?\nA:", "A?", "Q: B {x}?\nA:", "B {x}?"]


def test_the_frames_of_the_project_are_sound_and_held_out_ones_are_new():
    frames = (*wordings.TRAINING_FRAMES, *wordings.HELD_OUT_FRAMES)
    wordings.check_frames(frames)
    assert len(set(frames)) == len(frames)


@pytest.mark.parametrize("frames", [[], ["no field"], ["{question} {other}"]])
def test_other_frames_are_refused(frames):
    with pytest.raises(InputError, match="frame"):
        wordings.check_frames(frames)


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("The river is the Po.", ("The river is the", "Po")),
        ("Po is the river.", None),
        (None, None),
    ],
)
def test_a_statement_is_split_before_its_answer(statement, expected):
    assert wordings.statement_pair(Fact("1", "River?", "Po", statement=statement)) == expected
