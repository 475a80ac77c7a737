"""A whole stream on a tiny random model: what it measures, and how it goes on."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import clocks
import jax
import numpy as np
import pytest
import tiny_stream
from flax import nnx
from ml_collections import ConfigDict

from smem_jax import patch
from smem_jax.data.lessons import Lesson, Passage, Probe
from smem_jax.errors import InputError
from smem_jax.evaluate.held_out import Suite
from smem_jax.models import lora, peft, pretrained
from smem_jax.models.transformer import Transformer
from smem_jax.train import files, learners, stream, stream_inputs, stream_lessons
from smem_jax.train.learners.sparse import SparseLearner
from smem_jax.train.processes import WorkdirLock
from smem_jax.train.recall_matrix import RecallMatrix

FACTBOOK = Path(__file__).resolve().parents[2] / "configs" / "stream_data" / "factbook"


def _lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    config = tiny_stream.config(tmp_path_factory.mktemp("inputs"))
    config.learner.update({"optimizer": "adam", "learning_rate": 0.05})
    return config.lock()


@pytest.fixture(scope="module")
def finished(config, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run") / "workdir"
    return workdir, stream.run(config, workdir)


def test_all_that_is_measured_is_on_disk(config, finished):
    workdir, summary = finished
    assert json.loads((workdir / "summary.json").read_text()) == summary
    assert summary["num_lessons"] == 6
    assert summary["figures"].keys() == {"known", "known_nll", "wikitext_nll"}
    lines = _lines(workdir / "stream.jsonl")
    assert [line["lesson"] for line in lines] == list(range(6))
    assert all(0 < line["rows"] <= 8 for line in lines)
    matrix = files.read_npz(workdir / "matrix.npz")
    assert matrix["after"].tolist() == [2, 4, 6]
    # A lesson is asked about from the evaluation after its step on.
    np.testing.assert_array_equal(
        np.isnan(matrix["trained"]), np.arange(6) >= matrix["after"][:, None]
    )
    curve = _lines(workdir / "curve.jsonl")
    assert curve == summary["curve"]
    assert curve[-1]["recall_trained"] == pytest.approx(np.mean(matrix["trained"][-1]))
    after = files.read_npz(workdir / "after.npz")
    assert summary["figures"]["known"]["after"] == pytest.approx(after["known"].mean())


def test_a_finished_run_is_not_done_again(config, finished, monkeypatch):
    workdir, summary = finished
    monkeypatch.setattr(stream_inputs, "load", lambda config: pytest.fail("made anew"))
    assert stream.run(config, workdir) == summary


def _cut_off(config, workdir, monkeypatch, lesson: int) -> None:
    """A run that is interrupted while `lesson` is taught."""
    measure_one = RecallMatrix.measure_one

    def stop(self, model, number):
        if number == lesson:
            raise KeyboardInterrupt
        return measure_one(self, model, number)

    with monkeypatch.context() as context:
        context.setattr(RecallMatrix, "measure_one", stop)
        with pytest.raises(KeyboardInterrupt):
            stream.run(config, workdir)


def _assert_same(one: Path, other: Path) -> None:
    """What two runs measured is equal, and so is what they learned, where that is kept."""
    summaries = [json.loads((run / "summary.json").read_text()) for run in (one, other)]
    for name in ("figures", "recall", "matrix", "curve"):
        assert summaries[0][name] == summaries[1][name], name
    assert all(min(s["seconds"], *s["seconds_by_part"].values()) > 0 for s in summaries)
    logs = [_lines(run / "stream.jsonl") for run in (one, other)]
    for line in (*logs[0], *logs[1]):
        assert line.pop("seconds") > 0
    assert logs[0] == logs[1]
    patches = [run / patch.LEARNED for run in (one, other)]
    assert patches[0].is_file() == patches[1].is_file()
    if patches[0].is_file():
        found = [patch.load(path) for path in patches]
        assert found[0].identity == found[1].identity


def test_a_run_cut_off_ends_as_the_whole_one(config, finished, tmp_path, monkeypatch):
    _cut_off(config, tmp_path / "run", monkeypatch, 5)
    taken = []
    measure_one = RecallMatrix.measure_one
    monkeypatch.setattr(
        RecallMatrix,
        "measure_one",
        lambda self, model, number: taken.append(number) or measure_one(self, model, number),
    )
    stream.run(config, tmp_path / "run")
    assert taken == [4, 5]
    # The lessons before are timed, too.
    parts = json.loads((tmp_path / "run" / "summary.json").read_text())["seconds_by_part"]
    logged = _lines(tmp_path / "run" / "stream.jsonl")
    assert parts["teach"] >= sum(line["seconds"] for line in logged)
    _assert_same(tmp_path / "run", finished[0])


def test_steps_that_were_skipped_before_a_cut_are_counted(config, tmp_path, monkeypatch):
    step = SparseLearner.step

    def first_is_skipped(self, batch, number):
        found = step(self, batch, number)
        return {**found, "loss": float("nan")} if number == 0 else found

    monkeypatch.setattr(SparseLearner, "step", first_is_skipped)
    _cut_off(config, tmp_path / "run", monkeypatch, 5)
    assert stream.run(config, tmp_path / "run")["skipped_steps"] == 1


def test_a_stream_that_diverged_has_no_result(config, tmp_path, monkeypatch):
    c = ConfigDict(config.to_dict())
    c.learner.update({"method": "full", "learning_rate": 1e30})
    with pytest.raises(InputError, match=r"is not finite|all steps of the last lesson are skipped"):
        stream.run(c, tmp_path / "run")
    assert not (tmp_path / "run" / "summary.json").exists()

    def last_are_skipped(self, batch, number):
        found = step(self, batch, number)
        return {**found, "loss": float("nan")} if number >= 4 else found

    step = SparseLearner.step
    monkeypatch.setattr(SparseLearner, "step", last_are_skipped)
    with pytest.raises(InputError, match=r"the last lesson are skipped, 2 in a row"):
        stream.run(config, tmp_path / "other")
    assert not (tmp_path / "other" / "summary.json").exists()


def test_a_figure_that_is_not_finite_is_named(config, tmp_path, monkeypatch):
    measure = Suite.measure
    measured = []

    def broken(self, model, tasks=None):
        found = measure(self, model, tasks)
        measured.append(found)
        return found if len(measured) == 1 else {**found, "known_nll": found["known_nll"] * np.nan}

    c = ConfigDict(config.to_dict())
    c.cache = str(tmp_path / "cache")
    monkeypatch.setattr(Suite, "measure", broken)
    with pytest.raises(InputError, match="known_nll is not finite after the last lesson"):
        stream.run(c, tmp_path / "run")
    assert not (tmp_path / "run" / "summary.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "learner",
    [
        {"relevance_threshold": 2, "select_once": True, "new_rows_only": True, "steps": 2},
        {"method": "full", "learning_rate": 0.01},
        {"method": "lora", "learning_rate": 0.01},
    ],
    ids=["gate", "full", "lora"],
)
def test_so_does_one_of_any_learner_while_the_clock_jumps(config, tmp_path, monkeypatch, learner):
    c = ConfigDict(config.to_dict())
    c.learner.update(learner)
    measure_one = RecallMatrix.measure_one
    with monkeypatch.context() as patched:
        wall = clocks.WallClock(patched)
        patched.setattr(
            RecallMatrix, "measure_one", lambda *words: wall.jump() or measure_one(*words)
        )
        _cut_off(c, tmp_path / "cut", monkeypatch, 3)
        stream.run(c, tmp_path / "cut")
    stream.run(c, tmp_path / "whole")
    _assert_same(tmp_path / "cut", tmp_path / "whole")


def test_a_changed_byte_of_a_checkpoint_is_noticed(config, tmp_path, monkeypatch):
    workdir = tmp_path / "run"
    _cut_off(config, workdir, monkeypatch, 3)
    arrays = workdir / "checkpoints" / "2" / "arrays"
    largest = max(
        (path for path in arrays.rglob("*") if path.is_file()), key=lambda p: p.stat().st_size
    )
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content)
    with pytest.raises(InputError, match=r"every checkpoint is damaged .step 2.*--overwrite"):
        stream.run(config, workdir)


def test_what_lora_has_learned_is_kept_as_an_adapter(config, tmp_path, monkeypatch):
    other = config.copy_and_resolve_references().unlock()
    other.learner.update({"method": "lora", "rank": 2, "alpha": 4.0})
    other.lessons.count = 2
    other.evaluate.update({"known": "", "wikitext": ""})
    made = []
    make = learners.make
    monkeypatch.setattr(learners, "make", lambda *a: made.append(make(*a)) or made[0])
    stream.run(other, tmp_path / "run")
    adapter = tmp_path / "run" / peft.DIRECTORY
    assert peft.base_of(adapter) == other.model
    base = pretrained.load(other.model)
    model = Transformer.from_tensors(base.config, base.tensors)
    peft.load(model, adapter)
    found, expected = lora.lora_state(model), lora.lora_state(made[0].model())
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    assert any(np.any(leaf) for path, leaf in nnx.to_flat_state(found) if path[-1] == "b")


def test_files_of_something_else_are_not_lost(config, finished, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="no work directory of `smem stream`"):
        stream.run(config, tmp_path)
    other = config.copy_and_resolve_references()
    other.seed = 1
    with pytest.raises(InputError, match="a run of another configuration"):
        stream.run(other, finished[0])


@pytest.mark.parametrize(
    "field, value, message",
    [
        ("count", 9, "lessons.count=9 must be at most that"),
        ("file", "", "lessons.file='' must name"),
        ("kind", "songs", "lessons.kind='songs' must be 'facts' or 'factbook'"),
        ("lengths", (16,), "'too_long': 8"),
        ("lengths", (64, 600), r"lengths=\(64, 600\) must be at most 512, the positions of the"),
    ],
)
def test_lessons_that_cannot_be_are_refused(config, tmp_path, field, value, message):
    other = config.copy_and_resolve_references().unlock()
    other.lessons[field] = value
    with pytest.raises(InputError, match=message):
        stream.run(other, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_background_file_is_used_and_refused_for_another_memory(config, finished, tmp_path):
    [kept] = Path(config.cache).glob("background-*.safetensors")
    other = config.copy_and_resolve_references().unlock()
    other.background.file = str(tmp_path / "kept.safetensors")
    shutil.copy(kept, other.background.file)
    other.cache = str(tmp_path / "cache")
    stream.run(other, tmp_path / "run")
    with_file, without = (files.read_npz(w / "matrix.npz") for w in (tmp_path / "run", finished[0]))
    np.testing.assert_array_equal(with_file["trained"], without["trained"])
    assert not list(Path(other.cache).glob("background-*"))
    other.memory.score_scale = 3.0
    with pytest.raises(InputError, match="made for the memory layer"):
        stream.run(other, tmp_path / "other")


def test_what_the_model_knows_is_left_out_and_counted(config, tmp_path, monkeypatch):
    limits = []

    def answers(model, tokenizer, prompts, limit):
        limits.append(limit)
        return ["ada" if "book 0" in prompt else "?" for prompt in prompts]

    monkeypatch.setattr("smem_jax.evaluate.generate.answers", answers)
    other = config.copy_and_resolve_references().unlock()
    other.cache = str(tmp_path)
    found = stream_inputs.load(other)
    assert found.left_out["already_known"] == 1
    other.lessons.count = 8
    with pytest.raises(InputError, match=r"7 lessons are left .*'already_known': 1"):
        stream_inputs.load(other)
    assert limits == [3]
    other.lessons.count = 6
    other.evaluate.max_new_tokens = 5  # which may make other answers
    stream_inputs.load(other)
    assert limits == [3, 5]


def test_scores_of_the_untaught_model_are_kept_for_each_placement(config, tmp_path):
    other = config.copy_and_resolve_references().unlock()
    other.cache = str(tmp_path)
    kept = []
    for placement in ("beside", "instead"):
        other.memory.placement = placement
        inputs = stream_inputs.load(other)
        suite = stream_inputs.suite(other, inputs.tokenizer)
        found = stream_inputs.before(other, inputs, suite)
        again = stream_inputs.before(other, inputs, suite)
        measured = suite.measure(inputs.model)
        for name, scores in measured.items():
            np.testing.assert_array_equal(found[name], scores)
            np.testing.assert_array_equal(again[name], scores)
        kept.append(found["wikitext_nll"])
    assert (kept[0] != kept[1]).any()


def test_recall_before_leaves_out_kinds_that_no_lesson_asks(config, tmp_path):
    other = config.copy_and_resolve_references().unlock()
    other.cache = str(tmp_path)
    shares = {"reworded": np.asarray([1.0, np.nan, 0.0]), "trained": np.full(3, np.nan)}
    recall = SimpleNamespace(shares=lambda *_: shares)
    inputs = SimpleNamespace(fingerprint="f", model=None, lessons=[])
    assert stream_inputs.recall_before(other, inputs, recall) == {"reworded": 0.5}


def test_lessons_without_a_question_in_other_words_are_refused(config, monkeypatch):
    lesson = Lesson("one", (Passage("a", "b"),), (Probe("trained", "a", ("b",)),))
    found = stream_lessons.Found([lesson] * config.lessons.count, {})
    monkeypatch.setattr(stream_lessons, "_from_facts", lambda *_: found)
    with pytest.raises(InputError, match="no lesson has a question in words that are not trained"):
        stream_lessons.make(config, None, None, "")


@pytest.mark.slow
def test_documents_are_lessons_like_facts(config, tmp_path):
    other = config.copy_and_resolve_references().unlock()
    other.lessons.update({"kind": "factbook", "file": str(FACTBOOK), "count": 2})
    other.lessons.update({"chunk_tokens": 300, "lengths": (512,)})
    other.learner.update({"num_parts": 2, "select_once": True, "new_rows_only": True})
    other.evaluate.known = ""
    summary = stream.run(other, tmp_path / "run")
    assert summary["num_lessons"] == 2
    assert summary["left_out"].keys() == {"no_question", "no_probe"}
    found = stream_inputs.load(other).lessons
    assert all(passage.prompt == "" and passage.target for passage in found[0].passages)
    assert {probe.kind for lesson in found for probe in lesson.probes} == {"trained", "reworded"}
    # The rows of both chunks are those of one document.
    assert len(patch.load(tmp_path / "run" / patch.LEARNED).about.taught) == 1


def test_a_second_run_on_one_directory_is_refused_and_loses_nothing(config, finished, tmp_path):
    workdir = shutil.copytree(finished[0], tmp_path / "run")
    before = {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file()}
    with WorkdirLock(workdir), pytest.raises(InputError, match="another job uses this work dir"):
        stream.run(config, workdir, overwrite=True)
    for path, content in before.items():
        assert path.name == ".lock" or path.read_bytes() == content
    assert stream.run(config, workdir) == finished[1]


def test_a_checkpoint_of_somebody_else_is_no_work_directory(config, tmp_path):
    model = shutil.copytree(config.model, tmp_path / "model")
    with pytest.raises(InputError, match="is no work directory"):
        stream.run(config, model, overwrite=True)
    assert (model / "model.safetensors").is_file()
