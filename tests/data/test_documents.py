"""Documents of local files, and sources that cannot be read."""

import gzip
import json
from pathlib import Path

import pytest

from smem_jax.data.documents import open_documents
from smem_jax.data.jsonl import iter_lines
from smem_jax.errors import InputError


def _write(path: Path, text: str) -> Path:
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_the_forms_of_local_files(tmp_path, suffix):
    text = _write(tmp_path / f"text{suffix}", "a b\n\n  \nc\n")
    assert list(open_documents(f"text:{text}")) == ["a b", "c"]
    blocks = _write(tmp_path / f"blocks{suffix}", "\na\nb\n \n\nc\n")
    assert list(open_documents(f"blocks:{blocks}")) == ["a\nb", "c"]
    jsonl = _write(tmp_path / f"jsonl{suffix}", '{"t": "x", "n": 1}\n\n{"t": "y\\n"}\n')
    assert list(open_documents(f"jsonl:{jsonl}:t")) == ["x", "y"]
    records = [{"question": "Q?", "answer": ["A", "B"]}, {"question": "R?", "answer": "C"}]
    qa = _write(tmp_path / f"qa{suffix}", "\n".join(map(json.dumps, records)))
    assert list(open_documents(f"qa:{qa}")) == [
        "Question: Q?\nAnswer: A",
        "Question: R?\nAnswer: C",
    ]


@pytest.mark.parametrize(
    ("form", "content", "message"),
    [
        ("text:{}", None, "cannot be read"),
        ("text:{}", " \n", "the file is empty"),
        ("blocks:{}", "\n", "the file is empty"),
        ("jsonl:{}:t", '{"t": "x"}\n{"s": "y"}', ":2: the field 't' is missing; there are 's'"),
        ("jsonl:{}:t", '{"t": 3}', ":1: t=3 must be text"),
        ("jsonl:{}:t", "[]", ":1: expected a JSON object"),
        ("qa:{}", '{"question": "Q?"}', ":1: the field 'answer', 'answers' or 'aliases' must"),
        ("jsonl:{}", "{}", "must be jsonl:FILE:FIELD"),
        ("txt:{}", "x", "the nearest is text:FILE"),
        ("{}", "x", "must be one of text:FILE"),
        ("tfds:{}", "x", r"must be tfds:NAME\[/CONFIG\]:SPLIT@DIR"),
    ],
)
def test_a_source_that_cannot_be_read_is_named(tmp_path, form, content, message):
    path = tmp_path / "file"
    if content is not None:
        path.write_text(content)
    name = form.format(path if form != "jsonl:{}" else path.name)
    with pytest.raises(InputError, match=message) as caught:
        open_documents(name)
    assert "\n" not in str(caught.value)


def test_a_packed_line_that_fills_the_memory_is_refused_and_a_text_is_not(tmp_path):
    path = tmp_path / "text.gz"
    path.write_bytes(gzip.compress(b"a line\n" + b" " * 2**26))
    found = iter_lines(path)
    assert next(found) == (1, "a line")
    with pytest.raises(InputError, match=r"text\.gz:2: a line of 3,\d{3},\d{3} characters or more"):
        next(found)
    path.write_bytes(gzip.compress(b"word " * 200_000))
    assert list(iter_lines(path)) == [(1, "word " * 200_000)]


def test_a_gzip_file_that_is_cut_short_is_named(tmp_path):
    path = tmp_path / "text.gz"
    path.write_bytes(gzip.compress(b"word " * 1000)[:-20])
    with pytest.raises(InputError, match=r"text\.gz: cut short or damaged"):
        open_documents(f"text:{path}")
