"""The stream's data: every question has one role, and the files are what their scripts make."""

import itertools
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from smem_jax.data.facts import read_facts
from smem_jax.data.questions import read_questions
from smem_jax.data.rewording import reword
from smem_jax.evaluate.score import exact_match

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "configs" / "stream_data"
SOURCE = ROOT / ".." / "shared" / "data"
COUNTS = {
    "facts": 1_500, "nq": 600, "nq_shots": 5, "untaught": 200, "trivia_choices": 300,
    "gsm8k": 100, "mmlu": 200, "background_qa": 8_000,
}  # fmt: skip


@pytest.fixture(scope="module")
def scripts() -> Iterator[ModuleType]:
    """make_slices.py, whose neighbours are found through the path, as when it is run."""
    sys.path.insert(0, str(DATA))
    try:
        import make_slices

        assert Path(str(make_slices.__file__)).parent == DATA
        yield make_slices
    finally:
        sys.path.remove(str(DATA))
        for name in ("make_slices", "overlap", "published", "known_questions"):
            sys.modules.pop(name, None)


def read(name: str) -> list[dict[str, Any]]:
    text = (DATA / f"{name}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def plain(text: str) -> str:
    return " ".join("".join(c for c in text.lower() if c.isalnum() or c.isspace()).split())


@pytest.mark.parametrize("name", COUNTS)
def test_number_of_records(name: str) -> None:
    assert len(read(name)) == COUNTS[name]


def test_the_readers_of_the_package_take_the_files() -> None:
    facts = read_facts(DATA / "facts.jsonl")
    assert len({fact.id for fact in facts}) == len({plain(f.question) for f in facts}) == 1_500
    for name in ("nq", "nq_shots", "untaught", "background_qa"):
        assert len(read_questions(DATA / f"{name}.jsonl")) == COUNTS[name]


def test_any_beginning_of_the_facts_has_all_sources() -> None:
    for start in (0, 100, 500):
        sources = [fact["id"].split("-")[0] for fact in read("facts")[start : start + 100]]
        assert {"triviaqa", "simpleqa", "opentrivia"} == set(sources)
        assert all(sources.count(source) >= 8 for source in set(sources))


def test_facts_have_short_answers_that_the_question_does_not_give_away() -> None:
    for fact in read("facts"):
        assert len(fact["answer"].split()) <= 6
        assert f" {plain(fact['answer'])} " not in f" {plain(fact['question'])} "


def test_facts_can_be_reworded() -> None:
    for fact in read("facts")[::15]:
        assert len(reword(fact["question"], 0).held_out) >= 2
        assert len(reword(fact["question"], 0).training) >= 16


def test_no_question_has_two_roles() -> None:
    names = [*COUNTS, "known"]
    roles = {name: {plain(record["question"]) for record in read(name)} for name in names}
    for left, right in itertools.combinations(names, 2):
        assert not roles[left] & roles[right], (left, right)


def test_known_questions_were_answered_right() -> None:
    known = read("known")
    assert len(known) >= 600
    assert len({record["id"] for record in known}) == len(known)
    for record in known:
        assert set(record) == {"id", "question", "answers", "said"}
        assert exact_match(record["said"], record["answers"]) == 1.0


def test_multiple_choice_has_its_answer_among_the_choices() -> None:
    for record in read("trivia_choices"):
        assert record["answer"] in record["choices"] and len(set(record["choices"])) == 4
    for record in read("mmlu"):
        assert record["target"] in record["options"]


def test_no_fact_shares_its_subject_with_a_known_or_measured_question(scripts: ModuleType) -> None:
    from overlap import share_subject

    measured = [{"question": r["question"], "answers": r["answers"]} for r in read("known")]
    measured += read("nq") + read("untaught")
    for fact in read("facts")[::25]:
        asked = {"question": fact["question"], "answers": [fact["answer"]]}
        assert not [r for r in measured if share_subject(asked, r, frozenset())], fact


def test_the_rule_of_overlap(scripts: ModuleType) -> None:
    from overlap import Taken, share_subject

    first = {"question": "who built the opera of Zog in Lom", "answers": ["Ann"]}
    same_names = {"question": "when did Zog get its Lom line", "answers": ["1990"]}
    same_answer = {"question": "name a lady of Zog please now", "answers": ["ann"]}
    other = {"question": "when did Zog become free at last", "answers": ["1990"]}
    half = {"question": "who built the opera of Rome in 1990", "answers": ["Bo"]}
    rare = frozenset({"zog", "lom"})
    assert share_subject(first, same_names, rare) and share_subject(first, same_answer, rare)
    assert share_subject(first, half, rare) and not share_subject(first, other, rare)
    roles = Taken(rare, Counter(first["question"].lower().split()))
    roles.add(first)
    assert [roles.holds(r) for r in (same_names, same_answer, half, other)] == [True] * 3 + [False]


def test_text_has_paragraphs_without_headings() -> None:
    lines = (DATA / "wikitext.txt").read_text(encoding="utf-8").splitlines()
    assert all(line.strip() == line != "" and not line.startswith("= ") for line in lines)
    assert 50_000 < sum(map(len, lines)) < 65_000


def test_folder_is_below_two_megabytes() -> None:
    assert sum(path.stat().st_size for path in DATA.iterdir() if path.is_file()) < 2_000_000


def test_templates_become_questions(scripts: ModuleType, tmp_path: Path) -> None:
    from known_questions import read_common_knowledge

    path = tmp_path / "templates.txt"
    path.write_text(
        "# {} is in which country?\nItaly: Rome; Pisa\nUK | England: York\n\n# {}?\nB: A\n"
    )
    found = [(r["question"], r["answers"]) for r in read_common_knowledge(path)]
    assert found == [
        ("Rome is in which country?", ["Italy"]),
        ("Pisa is in which country?", ["Italy"]),
        ("York is in which country?", ["UK", "England"]),
        ("A?", ["B"]),
    ]


@pytest.mark.slow
@pytest.mark.skipif(not SOURCE.is_dir(), reason="the published data sets are not beside the clone")
def test_files_are_remade_byte_for_byte(scripts: ModuleType, tmp_path: Path) -> None:
    scripts.make_slices(SOURCE, read("known"), tmp_path)
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (DATA / path.name).read_bytes(), path.name
