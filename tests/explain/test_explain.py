"""The whole of `smem explain` on a tiny random model."""

import json
from pathlib import Path

import numpy as np
import pytest
import tiny_llama
from ml_collections import ConfigDict

from smem_jax import slots
from smem_jax.data.rewording import reword
from smem_jax.errors import InputError
from smem_jax.explain import page
from smem_jax.explain.explain import explain
from smem_jax.explain.rows import ROLES
from smem_jax.models import pretrained
from smem_jax.models.retrofit import memory_layer
from smem_jax.settings import defaults
from smem_jax.train import background, prefix, retrofitted, run

_FIGURES = ("tokens", "roles", "core", "overlap", "frequency")


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> ConfigDict:
    folder = tmp_path_factory.mktemp("inputs")
    facts = [
        {"question": f"Who has {n}?", "answer": f"N{n}", "paraphrases": [f"{n} is ${n} of `whom|?"]}
        for n in (3, 5, 8)
    ]
    (folder / "facts.jsonl").write_text("\n".join(map(json.dumps, facts)))
    (folder / "text.txt").write_text("some ordinary text, again and again\n" * 30)
    c = defaults()
    c.model = str(tiny_llama.write(folder / "model", "linear_rope"))
    c.memory.update({"block": 0, "num_slots": 64, "num_heads": 2, "top_k": 4, "key_dim": 8})
    c.background.update({"text": str(folder / "text.txt"), "seq_len": 16, "sample_tokens": 320})
    c.facts.file = str(folder / "facts.jsonl")
    c.facts.frames = ("Q: {question}\nA:", "{question} I say")
    c.train.top_t = 8
    run.background(c, folder / "background.safetensors")
    c.background.file = str(folder / "background.safetensors")
    return c.lock()


@pytest.fixture(scope="module")
def explained(config, tmp_path_factory) -> tuple[Path, dict]:
    output = tmp_path_factory.mktemp("run") / "new" / "explained"
    return output, explain(config, output, 3)


def _with(config: ConfigDict, **fields) -> ConfigDict:
    changed = config.copy_and_resolve_references()
    changed.update_from_flattened_dict({k.replace("__", "."): v for k, v in fields.items()})
    return changed.lock()


def test_the_files_and_what_the_page_says(explained):
    output, found = explained
    names = {f"{name}.{kind}" for name in _FIGURES for kind in ("svg", "png")}
    assert {path.name for path in output.iterdir()} == names | {"explain.json", "explain.md"}
    assert json.loads((output / "explain.json").read_text()) == found
    page = (output / "explain.md").read_text()
    assert all(f"]({name}.svg)" in page for name in _FIGURES)
    assert "of 4 rows" in page and "top_t = 8" in page
    for name in _FIGURES:
        assert (output / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert "↵" in (output / "tokens.svg").read_text(encoding="utf-8")


def test_the_numbers_hang_together(explained):
    _, found = explained
    assert [fact["question"] for fact in found["facts"]] == [f"Who has {n}?" for n in (3, 5, 8)]
    assert list(found["roles"]) == list(ROLES)
    for key in ("tokens", "chosen_reads"):
        assert sum(role[key] for role in found["roles"].values()) == pytest.approx(1)
    for sizes in (*found["core"]["read"], *found["core"]["chosen"]):
        assert sizes == sorted(sizes, reverse=True)
    for fact, read, chosen in zip(
        found["facts"], found["core"]["read"], found["core"]["chosen"], strict=True
    ):
        assert (fact["core_read"], fact["core_chosen"]) == (read[-1], chosen[-1])
        assert fact["core_chosen"] <= fact["slots_chosen"] == 8 < fact["slots_read"] <= 64
        assert fact["ordinary_tokens_reading"] <= found["ordinary_text"]["share_reading_any_fact"]
        for snippet in fact["ordinary_snippets"]:
            assert snippet["text"] in "some ordinary text, again and again\n" * 2
    frequency = found["document_frequency"]
    assert frequency["chosen"]["mean"] < frequency["read"]["mean"] <= frequency["documents"]


def test_the_chosen_slots_are_those_that_the_selection_gives(config, explained, tmp_path):
    base = pretrained.load(config.model)
    model = retrofitted.build(base, config)
    measured = background.load(
        Path(config.background.file),
        pretrained.fingerprint(base.tensors),
        retrofitted.description(config),
    )
    background.apply(measured, model, 0)
    # The first fact by itself, with other padding, which changes nothing before it.
    wordings = ("Who has 3?", "3 is $3 of `whom|?")
    texts = [f"{f.format(question=w)} N3\n" for w in wordings for f in config.facts.frames]
    ids = [base.tokenizer.encode(text) for text in texts]
    tokens = np.asarray([row + [7] * (40 - len(row)) for row in ids], np.int32)
    read, _ = prefix.reads(memory_layer(model, 0), prefix.run(model, 0, tokens, None).hidden)
    rows = [set(read[i, : len(row)].ravel().tolist()) for i, row in enumerate(ids)]
    indices = np.concatenate([read[i, : len(row)].ravel() for i, row in enumerate(ids)])
    selection = slots.select_read_slots(
        indices, measured.document_frequency, measured.num_documents, 8
    )
    fact = explained[1]["facts"][0]
    assert fact["slots_read"] == len(set.union(*rows))
    assert fact["core_read"] == len(set.intersection(*rows))
    chosen = set(np.asarray(selection.slots).tolist())
    assert fact["core_chosen"] == len(set.intersection(*rows) & chosen)
    expected = [sum(sum(s in r for r in rows) >= q * 4 for s in chosen) for q in (0.3, 0.6, 0.9)]
    assert [explained[1]["core"]["chosen"][0][i] for i in (2, 5, 8)] == expected


@pytest.mark.slow
def test_without_a_background_file_it_is_measured_and_all_is_the_same(config, explained, tmp_path):
    assert explain(_with(config, background__file=""), tmp_path, 3) == explained[1]
    for name in _FIGURES:
        svg = (tmp_path / f"{name}.svg").read_bytes()
        assert svg == (explained[0] / f"{name}.svg").read_bytes()


@pytest.mark.parametrize("selection", ["kl", "random"])
def test_other_selections_choose_as_many_slots(config, explained, tmp_path, selection, monkeypatch):
    monkeypatch.setattr(page, "write", lambda *_: None)  # figures take most of the time
    found = explain(_with(config, train__selection=selection), tmp_path, 2)
    assert [fact["slots_chosen"] for fact in found["facts"]] == [8, 8]
    assert found["facts"] != explained[1]["facts"][:2]


def test_every_read_slot_may_be_chosen(config, tmp_path, monkeypatch):
    monkeypatch.setattr(page, "write", lambda *_: None)
    found = explain(_with(config, train__selection="read"), tmp_path, 2)
    assert all(fact["slots_chosen"] > config.train.top_t for fact in found["facts"])


def test_bad_input_is_refused_before_anything_is_written(config, tmp_path):
    output = tmp_path / "out"
    one = tmp_path / "one.jsonl"
    one.write_text('{"question": "Who?", "answer": "me"}\n')
    for changed, facts, message in (
        (config, 1, "--facts 1: at least 2"),
        (_with(config, facts__file=""), 3, "facts.file=''"),
        (_with(config, facts__file=str(one)), 3, "one.jsonl: one fact has no other"),
        (_with(config, background__text=""), 3, "are both ''"),
        (_with(config, facts__frames=("no field",)), 3, "must hold {question} once"),
        (_with(config, facts__seq_len=8), 3, "the sequence length is 8"),
        (_with(config, train__max_document_frequency=1), 3, "leaves no fact a slot to train"),
    ):
        with pytest.raises(InputError, match=message):
            explain(changed, output, facts)
    assert not output.exists()
    with pytest.raises(InputError, match=r"--output .*one.jsonl is a file"):
        explain(config, one, 3)


def test_a_fact_without_paraphrases_has_those_of_rules(config, tmp_path):
    questions = ("Who wrote the book Dune?", "In which city is the museum Prado?")
    facts = [{"question": question, "answer": "N"} for question in questions]
    (tmp_path / "facts.jsonl").write_text("\n".join(map(json.dumps, facts)))
    found = explain(_with(config, facts__file=str(tmp_path / "facts.jsonl")), tmp_path / "out", 2)
    for question, fact in zip(questions, found["facts"], strict=True):
        assert fact["rows"] == (1 + len(reword(question, config.seed).training)) * 2 > 2
