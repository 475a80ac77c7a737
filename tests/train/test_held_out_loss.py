"""The loss of held-out text during a pretraining job, beside that of `evaluate.nll`."""

import json

import jax
import job_configs
import numpy as np
import pytest
from flax import nnx

from smem_jax.data.byte_tokenizer import ByteTokenizer
from smem_jax.errors import InputError
from smem_jax.evaluate import batching, nll
from smem_jax.train import job, subject
from smem_jax.train.held_out_loss import HeldOutLoss, packed
from smem_jax.train.program import Program

TEXTS = ["a line that no one trains on", "another one, longer than a row of 32 bytes can hold", "x"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    (folder / "held_out.txt").write_text("\n".join(TEXTS))
    return folder


def tiny(folder, **fields):
    source = f"text:{folder / 'held_out.txt'}"
    return job_configs.tiny("pretrain", folder, data__held_out_source=source, **fields)


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("job") / "run"
    summary = job.run(tiny(folder, train__evaluate_every=3), workdir)
    return workdir, summary


def test_it_is_written_at_its_steps_and_at_the_end(run):
    workdir, summary = run
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").open()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 6, 8]
    losses = {line["step"]: line["held_out_loss"] for line in lines if "held_out_loss" in line}
    assert list(losses) == [3, 6, 8] and losses[8] < losses[3]
    assert summary["last"]["held_out_loss"] == losses[8]


def test_it_is_the_likelihood_of_the_documents(run):
    workdir, summary = run
    found = subject.load(workdir)
    # The pieces as they are cut: 32 tokens each, with an end token behind the document.
    tokenizer = ByteTokenizer()
    ids = [[*tokenizer.encode(text), tokenizer.eos_id] for text in TEXTS]
    pieces = [piece[start : start + 32] for piece in ids for start in range(0, len(piece), 32)]
    padded = batching.pad_rows(pieces, len(pieces), 32, fill=0)
    likely = jax.nn.log_softmax(nnx.jit(lambda model: model(padded))(found.model))
    total = tokens = 0.0
    for piece, of_next in zip(pieces, likely, strict=True):
        total -= float(of_next[np.arange(len(piece) - 1), piece[1:]].sum())
        tokens += len(piece) - 1
    assert summary["last"]["held_out_loss"] == pytest.approx(total / tokens, rel=1e-5)


def test_the_loaded_model_is_the_trained_one(run):
    found = subject.load(run[0])
    assert found.model.blocks[1].memory is not None and found.model.blocks[1].ffn is None
    measured = nll.text_nll(found.model, found.tokenizer, ["in line 7 there are 49 words"], 16)
    assert measured.mean < np.log(257) - 0.5
    assert found.fingerprint == subject.load(run[0]).fingerprint


def test_it_changes_nothing_in_training(run, folder, tmp_path):
    without = job.run(job_configs.tiny("pretrain", folder), tmp_path / "run")
    assert "held_out_loss" not in without["last"]
    assert subject.load(tmp_path / "run").fingerprint == subject.load(run[0]).fingerprint


@pytest.mark.slow
def test_a_job_without_memory_has_it_too_and_is_another_subject(run, folder, tmp_path):
    summary = job.run(tiny(folder, memory__blocks=(), train__steps=3), tmp_path / "run")
    assert 0 < summary["last"]["held_out_loss"] < 10
    found = subject.load(tmp_path / "run")
    assert found.model.blocks[1].memory is None
    assert found.fingerprint != subject.load(run[0]).fingerprint


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"data__held_out_source": "text:/nowhere.txt"}, "/nowhere.txt: cannot be read"),
        ({"train__evaluate_every": 0}, "train.evaluate_every=0 must be at least 1"),
    ],
)
def test_bad_input_is_named(fields, message, folder, tmp_path):
    with pytest.raises(InputError, match=message):
        job.run(job_configs.tiny("pretrain", folder, **fields), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_it_is_of_pretraining_only(folder):
    config = job_configs.tiny("sparse", folder, data__held_out_source="text:any.txt")
    program = Program(config, jax.devices()[:1])
    with pytest.raises(InputError, match="only with objective='pretrain'"):
        HeldOutLoss(program, config, ByteTokenizer())


def test_a_directory_without_a_checkpoint_is_no_subject(run, tmp_path):
    with pytest.raises(InputError, match="is no work directory of `smem train`"):
        subject.load(tmp_path)
    (tmp_path / "job.json").write_text((run[0] / "job.json").read_text())
    with pytest.raises(InputError, match="holds no checkpoint"):
        subject.load(tmp_path)


def test_packing_loses_no_token_and_wastes_few():
    random = np.random.default_rng(0)
    documents = [np.arange(n, dtype=np.int32) for n in random.integers(1, 50, 300)]
    rows = packed(iter(documents), 32)
    pieces = [piece for row in rows for piece in row]
    assert all(sum(len(piece.tokens) for piece in row) <= 32 for row in rows)
    for number, document in enumerate(documents):
        own = sorted((p for p in pieces if p.document == number), key=lambda p: p.start)
        np.testing.assert_array_equal(np.concatenate([p.tokens for p in own]), document)
    assert sum(map(len, documents)) > 0.98 * 32 * len(rows)
