"""What the report of a run says of slots, against the reads of each text by itself."""

import json
import re
from collections import Counter
from typing import Any, NamedTuple

import numpy as np
import pytest
import tiny_llama

from smem_jax.data.facts import Fact
from smem_jax.explain import slot_reads
from smem_jax.models import pretrained
from smem_jax.models.retrofit import memory_layer
from smem_jax.report.slot_reads import read_slot_reads
from smem_jax.settings import defaults
from smem_jax.train import background, prefix, retrofitted

_LONGEST = 48
_FRAME = "Q: {question}\nA:"
_FACTS = [
    Fact("a", "Who has 3?", "Zoë", paraphrases=("3 is whose?",), held_out=("x" * 60, "3: who?")),
    Fact("b", "Who has 5?", "N5", paraphrases=("5 is whose?",)),
    Fact("c", "Who?", "me"),
]
_TEXTS = [
    ("a", "trained", "Q: Who has 3?\nA: Zoë\n"),
    ("a", "reworded", "Q: 3: who?\nA: Zoë\n"),
    ("b", "trained", "Q: Who has 5?\nA: N5\n"),
    ("b", "trained", "Q: 5 is whose?\nA: N5\n"),
    ("c", "trained", "Q: Who?\nA: me\n"),
]
_TRAINED = np.arange(3, 64, 3, dtype=np.int32)
_ORDINARY = [f"some text {number}, ordinary" for number in range(6)]


class Made(NamedTuple):
    model: Any
    tokenizer: Any
    background: background.Background
    documents: background.Documents


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Made:
    c = defaults()
    c.model = str(tiny_llama.write(tmp_path_factory.mktemp("model"), "linear_rope"))
    c.memory.update({"block": 0, "num_slots": 64, "num_heads": 2, "top_k": 4, "key_dim": 8})
    base = pretrained.load(c.model)
    model = retrofitted.build(base, c)
    documents = background.documents(base.tokenizer, _ORDINARY, [], [], 16, True)
    measured = background.measure(
        model, 0, documents, fingerprint="", memory="", sample_tokens=16, seed=0
    )
    return Made(model, base.tokenizer, measured, documents)


def _found(made: Made, **changed) -> dict:
    return slot_reads.slot_reads(
        **{
            "model": made.model,
            "tokenizer": made.tokenizer,
            "block": 0,
            "facts": _FACTS,
            "frame": _FRAME,
            "seq_len": 40,
            "trained": _TRAINED,
            "background": made.background,
            "documents": made.documents,
            **changed,
        }
    )


@pytest.fixture(scope="module")
def found(made) -> dict:
    return _found(made)


def _shares(made: Made, ids: list[int]) -> list[Counter]:
    """Of each token of one text the share of its weight that each slot gets, of all slots."""
    padded = np.asarray([[*ids, *[7] * (_LONGEST - len(ids))]], np.int32)  # one size, one program
    hidden = prefix.run(made.model, 0, padded, None).hidden
    [indices], [weights] = prefix.reads(memory_layer(made.model, 0), hidden)
    shares = []
    for slots, its in zip(indices[: len(ids)].tolist(), weights.tolist(), strict=False):
        counts: Counter = Counter()
        for slot, weight in zip(slots, its, strict=True):
            counts[slot] += weight / sum(its)
        shares.append(counts)
    return shares


def test_rows_are_two_wordings_of_each_fact_that_are_not_too_long(found):
    assert [
        (row["fact"], row["kind"], "".join(token[0] for token in row["tokens"]))
        for row in found["rows"]
    ] == _TEXTS


def test_tokens_have_the_trained_slots_that_weigh_most(made, found):
    reads = []
    for row, (*_, text) in zip(found["rows"], _TEXTS, strict=True):
        for token, shares in zip(
            row["tokens"], _shares(made, made.tokenizer.encode(text)), strict=True
        ):
            trained = {slot: share for slot, share in shares.items() if slot % 3 == 0 and slot}
            most = sorted(trained.values(), reverse=True)[:3]
            assert [share for _, share in token[3]] == pytest.approx(most, abs=1e-4)
            assert all(trained[slot] == pytest.approx(share, abs=1e-4) for slot, share in token[3])
            assert token[1] == pytest.approx(sum(trained.values()), abs=1e-4)
            reads.append((token[2], len(trained)))
    assert found["reads_per_token"] == 8 >= max(number for number, _ in reads)
    # Two heads may read one slot.
    assert all(slots <= number <= 2 * slots for number, slots in reads)


def test_slots_have_all_that_reads_them_what_reads_most_first(made, found):
    of_token = {
        (row, place): shares
        for row, (*_, text) in enumerate(_TEXTS)
        for place, shares in enumerate(_shares(made, made.tokenizer.encode(text)))
    }
    assert set(found["slots"]) == {
        slot for row in found["rows"] for *_, slots in row["tokens"] for slot, _ in slots
    }
    for slot, its in found["slots"].items():
        readers = {at: shares[slot] for at, shares in of_token.items() if slot in shares}
        assert its["num_tokens"] == len(readers)
        assert len(its["tokens"]) == min(8, len(readers)) == len(set(its["tokens"]))
        rows = {row for row, _ in readers}
        firsts = its["tokens"][: len(rows)]
        assert {row for row, _ in firsts} == rows
        for row, place in firsts:
            most = max(share for at, share in readers.items() if at[0] == row)
            assert readers[row, place] == pytest.approx(most, rel=1e-3)
        shares = [readers[at] for at in firsts]
        assert shares == pytest.approx(sorted(shares, reverse=True), rel=1e-3)
        assert its["documents"] == made.background.document_frequency[slot]


def test_snippets_are_ordinary_text_around_the_token_that_reads(made, found):
    whole = [made.tokenizer.decode(row) for row in made.documents.tokens.tolist()]
    shares = [_shares(made, row.tolist()) for row in made.documents.tokens]
    for slot, its in found["slots"].items():
        assert len(its["snippets"]) == min(2, sum(slot in t for row in shares for t in row))
        most = max((token[slot] for row in shares for token in row), default=0)
        for number, (before, token, after) in enumerate(its["snippets"]):
            places = [
                (row, match.start() + len(before))  # a token is a character
                for row, text in enumerate(whole)
                for match in re.finditer(re.escape(before + token + after), text)
            ]
            weight = max(shares[row][place][slot] for row, place in places)
            assert weight == pytest.approx(most, rel=1e-3) if number == 0 else weight > 0
            assert len(before) <= 8 >= len(after) and len(token) == 1
    assert any(its["snippets"] for its in found["slots"].values())


def test_document_frequency_is_a_histogram_of_all_slots(made, found):
    histogram, frequency = found["document_frequency"], made.background.document_frequency
    for name, counted in (("all", frequency), ("trained", frequency[_TRAINED])):
        for number, least in enumerate(histogram["from"]):
            most = 2 * least if least else 1
            is_here = (counted >= least) & (counted < most)
            assert histogram[name][number] == is_here.sum()
        assert sum(histogram[name]) == len(counted)
    assert found["documents"] == len(made.documents.tokens)


def test_the_report_reads_it(found, tmp_path):
    path = tmp_path / slot_reads.FILE
    path.write_text(json.dumps(found))
    read = read_slot_reads(path)
    assert [row.fact for row in read.rows] == [fact for fact, *_ in _TEXTS]
    assert set(read.slots) == set(found["slots"])


def test_without_ordinary_text_there_are_no_snippets_and_many_facts_are_cut(
    made, found, monkeypatch
):
    monkeypatch.setattr(slot_reads, "_TOKENS", 50)
    few = _found(made, documents=None)
    assert few["rows"] == found["rows"][: len(few["rows"])]
    assert {row["fact"] for row in few["rows"]} == {"a", "b"}
    assert not any(its["snippets"] for its in few["slots"].values())
