"""Readers of the held-out suite: what is read, and how what is malformed is refused."""

import json

import pytest

from smem_jax.data import held_out
from smem_jax.data.held_out import ChoiceQuestion, KnownQuestion, Problem
from smem_jax.errors import InputError

_KNOWN = {"id": "nq-1", "question": "Who?", "answers": ["Me", "I"], "said": "me."}
_PROBLEM = {"question": "1 + 1?", "answer": "It is\n#### 2"}
_LETTERED = {"id": "m/1", "question": "Big?", "options": {"A": "ant", "B": "cow"}, "target": "B"}
_CHOICES = {"question": "Big?", "choices": ["ant", "cow", "hen"], "answer": "cow"}
_READERS = {
    held_out.read_known: (_KNOWN, KnownQuestion("nq-1", "Who?", ("Me", "I"), "me.")),
    held_out.read_problems: (_PROBLEM, Problem("1 + 1?", "It is\n#### 2")),
    held_out.read_lettered: (_LETTERED, ChoiceQuestion("Big?", ("ant", "cow"), 1)),
    held_out.read_choices: (_CHOICES, ChoiceQuestion("Big?", ("ant", "cow", "hen"), 1)),
}


def _file(tmp_path, *records):
    path = tmp_path / "lines.jsonl"
    path.write_text("\n".join(json.dumps(record) for record in records), encoding="utf-8")
    return path


@pytest.mark.parametrize("read", _READERS)
def test_a_record_is_read(read, tmp_path):
    record, expected = _READERS[read]
    assert read(_file(tmp_path, record)) == [expected]


@pytest.mark.parametrize(
    ("read", "line", "message"),
    [
        (held_out.read_known, _KNOWN, "id='nq-1' comes twice"),
        (held_out.read_known, _KNOWN | {"id": "2", "answers": []}, "at least one answer"),
        (held_out.read_known, _KNOWN | {"id": "2", "said": ""}, "said='' must be text"),
        (held_out.read_problems, {"question": "Q"}, "the field 'answer' is missing"),
        (held_out.read_lettered, _LETTERED | {"target": "C"}, "target='C' must be one of A, B"),
        (held_out.read_lettered, _LETTERED | {"target": ["A"]}, "must be one of A, B"),
        (held_out.read_lettered, _LETTERED | {"options": ["x", "y"]}, "texts of the letters"),
        (held_out.read_lettered, _LETTERED | {"options": {"A": "x"}}, "texts of the letters"),
        (held_out.read_lettered, _LETTERED | {"options": {"A": "x", "C": "y"}}, "the letters"),
        (held_out.read_lettered, _LETTERED | {"options": {"A": "x", "B": 2}}, "B=2 must be text"),
        (held_out.read_choices, _CHOICES | {"answer": "pig"}, "answer='pig' must be one of"),
        (held_out.read_choices, _CHOICES | {"choices": ["cow", "cow"]}, "all different"),
        (held_out.read_choices, _CHOICES | {"choices": ["cow"]}, "at least two"),
    ],
)
def test_what_is_malformed_is_refused_with_file_and_line(read, line, message, tmp_path):
    path = _file(tmp_path, _READERS[read][0], line)
    with pytest.raises(InputError, match=message) as caught:
        read(path)
    assert f"{path}:2: " in str(caught.value)
    assert "\n" not in str(caught.value)
