"""The whole job on a tiny random model: what changes, what does not, and how it goes on."""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_llama
import tiny_teach
from flax import nnx
from ml_collections import ConfigDict

from smem_jax import config as config_module
from smem_jax import patch
from smem_jax.data.facts import read_facts
from smem_jax.errors import InputError
from smem_jax.evaluate import patched, recall
from smem_jax.evaluate.ask import ask, restore
from smem_jax.evaluate.measure import probes
from smem_jax.models import pretrained
from smem_jax.models.transformer import Transformer
from smem_jax.settings import defaults
from smem_jax.train import background, loop, retrofitted, run


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> ConfigDict:
    return tiny_teach.config(tmp_path_factory.mktemp("inputs")).lock()


@pytest.fixture(scope="module")
def finished(config, tmp_path_factory) -> tuple[Path, dict]:
    workdir = tmp_path_factory.mktemp("run") / "workdir"
    return workdir, run.teach(config, workdir)


def _arrays(model: Transformer) -> dict[str, np.ndarray]:
    leaves = jax.tree_util.tree_leaves_with_path(nnx.state(model))
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def test_every_array_but_the_selected_rows_is_bit_for_bit_as_before(config, finished):
    workdir, summary = finished
    base = pretrained.load(config.model)
    untaught = retrofitted.build(base, config)
    found = background.load(
        workdir / "background.safetensors",
        pretrained.fingerprint(base.tensors),
        retrofitted.description(config),
    )
    background.apply(found, untaught, 0)
    before, after = _arrays(untaught), _arrays(restore(workdir).model)
    others = [name for name in before if "'table'" not in name]
    assert len(others) == len(before) - 1
    for name in others:
        assert before[name].tobytes() == after[name].tobytes(), name
    learned = _learned(workdir)
    assert 0 < len(learned.slots) == summary["slots_updated"] <= 4 * 8


def test_the_restored_model_has_the_logits_of_the_taught_one(
    config, finished, tmp_path, monkeypatch
):
    measured = []
    real = run.measure
    monkeypatch.setattr(
        run, "measure", lambda model, *rest: (measured.append(model), real(model, *rest))[1]
    )
    run.teach(config, tmp_path / "again")
    tokens = tiny_llama.tokens()
    restored = restore(tmp_path / "again").model
    np.testing.assert_array_equal(np.asarray(restored(tokens)), np.asarray(measured[-1](tokens)))
    # The same configuration gives the same run.
    again, before = _learned(tmp_path / "again"), _learned(finished[0])
    assert again.identity == before.identity


def _learned(workdir: Path) -> patch.Patch:
    return patch.load(workdir / patch.LEARNED)


def _rows(workdir: Path) -> np.ndarray:
    found = _learned(workdir)
    return found.rows.take(np.arange(len(found.slots)))


def test_the_summary_and_the_files_of_a_run(config, finished):
    workdir, summary = finished
    names = {"config.json", "background.safetensors", "checkpoints", "metrics.jsonl", "events"}
    names |= {"answers.jsonl", "summary.json", "slot_reads.json"}
    assert names <= {path.name for path in workdir.iterdir()}
    assert json.loads((workdir / "summary.json").read_text()) == summary
    for name in ("taught_exact_match", "wikitext_nll", "nq_answer_nll", "nq_f1"):
        assert set(summary[name]) == {"before", "after"}
    assert summary["config"] == json.loads(config_module.to_json(config))
    steps = [json.loads(line) for line in (workdir / "metrics.jsonl").open()]
    assert [line["step"] for line in steps] == [0, 1, 2, 3, 4]
    assert steps[3]["loss"] < steps[0]["loss"]
    answers = [json.loads(line) for line in (workdir / "answers.jsonl").open()]
    kinds = [line["kind"] for line in answers]
    assert (kinds.count("trained"), kinds.count("frame"), kinds.count("reworded")) == (3, 9, 3)
    reads = json.loads((workdir / "slot_reads.json").read_text())
    assert [(row["fact"], row["kind"]) for row in reads["rows"]] == [
        (str(number), kind) for number in (1, 2, 3) for kind in ("trained", "reworded")
    ]
    assert set(map(int, reads["slots"])) <= set(_learned(workdir).slots.tolist())
    assert sum(reads["document_frequency"]["trained"]) == summary["slots_updated"]


def test_recall_and_text_along_the_run_are_those_of_the_model_after_as_many_steps(config, finished):
    workdir, summary = finished
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").open()]
    curve = {line["step"]: line for line in lines if "recall" in line}
    assert list(curve) == [0, 2, 4]
    taught, asked = restore(workdir), probes(read_facts(config.facts.file), [])
    reworded = [probe for probe in asked if probe.kind == "reworded"]
    texts = [[p.prompt for p in reworded], [p.fact.answer for p in reworded]]
    models = {0: patched.without_memory(taught), 4: taught.model}
    for (step, model), when in zip(models.items(), ("before", "after"), strict=True):
        right = recall.follows(model, taught.tokenizer, *texts).right
        assert curve[step]["recall"] == right.mean()
        assert curve[step]["text_nll"] == pytest.approx(summary["wikitext_nll"][when], abs=1e-6)
    assert len({line["text_nll"] for line in curve.values()}) == 3


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_table_with_other_rows_is_the_same_elsewhere(dtype):
    random = np.random.default_rng(0)
    table = jnp.asarray(random.normal(size=(16, 4)), dtype)
    rows = random.normal(size=(3, 4)).astype(np.float32)
    expected = np.array(table)
    expected[[7, 2, 11]] = rows.astype(expected.dtype)
    found = loop.with_rows(table, np.asarray([7, 2, 11]), jnp.asarray(rows))
    assert found.dtype == table.dtype
    assert np.asarray(found).tobytes() == expected.tobytes()


def test_nothing_is_measured_along_a_run_that_is_not_to(config, tmp_path):
    run.teach(_changed(config, "evaluate.every", 0), tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").open()]
    assert [line["step"] for line in lines] == [0, 1, 2, 3]
    assert not any("recall" in line or "text_nll" in line for line in lines)


def test_a_run_that_was_cut_off_ends_as_it_would_have(config, finished, tmp_path, monkeypatch):
    real_step, calls = loop.train_step, []

    def cut_off(*args):
        calls.append(args)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real_step(*args)

    monkeypatch.setattr(loop, "train_step", cut_off)
    with pytest.raises(KeyboardInterrupt):
        run.teach(config, tmp_path / "cut")
    monkeypatch.setattr(loop, "train_step", real_step)
    summary = run.teach(config, tmp_path / "cut")
    assert summary["slots_updated"] == finished[1]["slots_updated"]
    assert _learned(tmp_path / "cut").identity == _learned(finished[0]).identity
    whole, cut = (
        [json.loads(line) for line in (folder / "metrics.jsonl").open()]
        for folder in (finished[0], tmp_path / "cut")
    )
    for line in (*whole, *cut):
        line.pop("seconds", None)
    assert cut == whole and len(cut) == 5


def test_without_the_cache_of_the_prefix_the_same_is_learned(config, finished, tmp_path):
    run.teach(_changed(config, "train.cache_prefix", False), tmp_path / "run")
    cached, anew = finished[0], tmp_path / "run"
    np.testing.assert_array_equal(_learned(cached).slots, _learned(anew).slots)
    np.testing.assert_allclose(_rows(cached), _rows(anew), rtol=1e-3, atol=1e-4)


def test_all_read_slots_can_be_trained_with_momentum(config, tmp_path):
    changed = _changed(_changed(config, "train.selection", "read"), "train.momentum", 0.9)
    changed = _changed(changed, "train.optimizer", "sgd")
    assert run.teach(changed, tmp_path / "run")["slots_updated"] > 4 * 8


def test_asking_gives_an_answer_to_each_question(finished):
    taught = restore(finished[0])
    assert len(ask(taught, ["Who has 3?", "and 5?"])) == 2
    with pytest.raises(InputError, match="empty"):
        ask(taught, [" "])
    with pytest.raises(InputError, match="holds no finished run"):
        restore(finished[0] / "nothing")


def test_a_background_file_is_used_and_refused_for_another_memory(config, finished, tmp_path):
    output = tmp_path / "background.safetensors"
    assert run.background(config, output)["num_documents"] > 10
    assert output.read_bytes() == (finished[0] / "background.safetensors").read_bytes()
    with_file = _changed(config, "background.file", str(output))
    run.teach(with_file, tmp_path / "run")
    assert _learned(tmp_path / "run").identity == _learned(finished[0]).identity
    reads = (tmp_path / "run" / "slot_reads.json").read_text()
    assert reads == (finished[0] / "slot_reads.json").read_text()
    other = _changed(with_file, "memory.score_scale", 3.0)
    without_text = _changed(with_file, "background.text", "")
    run.teach(_changed(without_text, "background.questions", ""), tmp_path / "bare")
    bare = json.loads((tmp_path / "bare" / "slot_reads.json").read_text())
    assert bare["rows"] == json.loads(reads)["rows"]
    assert not any(slot["snippets"] for slot in bare["slots"].values())
    with pytest.raises(InputError, match="made for the memory layer"):
        run.teach(other, tmp_path / "other")
    found = dataclasses.replace(_loaded(output, config), fingerprint="other")
    background.save(found, output)
    with pytest.raises(InputError, match="another base model"):
        run.teach(with_file, tmp_path / "third")
    output.write_bytes(output.read_bytes()[:500])
    with pytest.raises(InputError, match="cut short"):
        run.teach(with_file, tmp_path / "fourth")


def _loaded(path: Path, config: ConfigDict) -> background.Background:
    base = pretrained.load(config.model)
    return background.load(
        path, pretrained.fingerprint(base.tensors), retrofitted.description(config)
    )


def _changed(config: ConfigDict, name: str, value: object) -> ConfigDict:
    changed = ConfigDict(json.loads(config_module.to_json(config)))
    section, field = name.split(".")
    changed[section][field] = value
    return config_module.from_json(json.dumps(changed.to_dict()), defaults())


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("train.top_t", 65, "top_t=65 exceeds num_slots=64"),
        ("facts.seq_len", 8, "takes .* tokens, the sequence length is 8"),
        ("facts.seq_len", 513, "facts.seq_len=513 must be at most 512, the positions of the model"),
        ("background.seq_len", 513, "background.seq_len=513 must be at most 512, the positions"),
        ("facts.file", "none.jsonl", "none.jsonl: cannot be read"),
        ("memory.block", 2, "must be different numbers from 0 to 1"),
        ("memory.num_slots", 60, "must be a square number"),
        ("train.optimizer", "adagrad", "must be one of sgd, adam"),
        ("train.missed_steps", "skip", "must be one of lazy, catch_up"),
        ("train.b1", 1.0, "b1=1.0; at least 0 and below 1"),
        ("train.weight_decay", -0.1, "weight_decay=-0.1 must be at least 0"),
        ("train.steps", 0, "train.steps=0 must be at least 1"),
        ("evaluate.every", -1, "evaluate.every=-1 must be at least 0"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing_behind(config, name, value, message, tmp_path):
    with pytest.raises(InputError, match=message) as caught:
        run.teach(_changed(config, name, value), tmp_path / "workdir")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "workdir").exists()


def test_work_directories_of_something_else_are_left_alone(config, finished, tmp_path):
    with pytest.raises(InputError, match="finished run"):
        run.teach(config, finished[0])
    (tmp_path / "precious.txt").write_text("x")
    for overwrite in (False, True):
        with pytest.raises(InputError, match="no work directory"):
            run.teach(config, tmp_path, overwrite)
    assert (tmp_path / "precious.txt").exists()
