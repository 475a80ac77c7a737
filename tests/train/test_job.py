"""`smem train` in one process: what it leaves, how it goes on, and what it refuses."""

import json
import os
import signal

import jax
import job_configs
import numpy as np
import pytest

from smem_jax.errors import InputError
from smem_jax.train import files, job, job_dir, job_model, subject


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


def run(config, workdir, **options):
    """The numpy state after each batch, by its number."""
    states = {}
    job.run(
        config,
        workdir,
        on_step=lambda done, state: states.update({done: jax.tree.map(np.array, state)}),
        **options,
    )
    return states


@pytest.fixture(scope="module")
def pretrained(folder, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("pretrain") / "run"
    return workdir, run(job_configs.tiny("pretrain", folder), workdir)


@pytest.fixture(scope="module")
def taught(folder, pretrained, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("sparse") / "run"
    return workdir, run(job_configs.tiny("sparse", folder, init=str(pretrained[0])), workdir)


def same(one, other):
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(a.tobytes() == b.tobytes() for a, b in pairs)


def test_a_job_learns_and_leaves_metrics_a_summary_and_checkpoints(pretrained):
    workdir, states = pretrained
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").open()]
    assert [line["step"] for line in lines] == [1, 2, 4, 6, 8]
    assert lines[-1]["loss"] < lines[0]["loss"]
    expected = {"slot_entropy", "new_slots", "step_seconds", "tokens_per_second", "input_wait"}
    assert expected <= lines[-1].keys()
    assert 0 < lines[0]["slot_entropy"] <= np.log(256)
    assert lines[0]["new_slots"] == 1.0 and lines[-1]["new_slots"] < 0.5
    summary = json.loads((workdir / "summary.json").read_text())
    assert summary["batches"] == 8 and summary["config"]["objective"] == "pretrain"
    names = sorted(path.name for path in (workdir / "checkpoints").iterdir())
    assert names == ["6", "8"]
    assert any((workdir / "events").iterdir())
    assert states[8].step == 8


def test_sparse_finetuning_starts_with_the_parameters_and_moves_chosen_rows_only(
    pretrained, taught
):
    before, after = pretrained[1][8], taught[1][11]
    assert same(before.params, after.params)
    assert after.num_documents == 3 and after.step == 8
    (old,), (new,) = jax.tree.leaves(before.values), jax.tree.leaves(after.values)
    moved = (old != new).any(axis=1)
    (changed,) = jax.tree.leaves(after.changed)
    np.testing.assert_array_equal(moved, moved & changed)
    assert 20 < moved.sum() < 8 * 20
    (frequency,) = jax.tree.leaves(after.document_frequency)
    assert frequency.max() == 3 and frequency.min() == 0
    # While background is counted, nothing else changes.
    assert same(taught[1][3].values, before.values)


def test_a_work_directory_is_the_model_of_its_newest_checkpoint(pretrained, taught, tmp_path):
    for workdir, states in (pretrained, taught):
        found = subject.load(workdir)
        last = states[max(states)]
        params, values = job_model.params_and_values(found.model)
        assert same(params, last.params) and same(values, last.values)
        assert found.tokenizer.decode(found.tokenizer.encode("a word")) == "a word"
    assert subject.load(pretrained[0]).fingerprint != found.fingerprint
    with pytest.raises(InputError, match="nothing"):
        subject.load(tmp_path / "nothing")


@pytest.mark.parametrize("objective", ["pretrain", "sparse"])
def test_a_job_cut_off_at_any_batch_ends_bit_for_bit(
    objective, folder, pretrained, taught, tmp_path
):
    whole = {"pretrain": pretrained, "sparse": taught}[objective][1]
    init = str(pretrained[0]) if objective == "sparse" else ""
    config = job_configs.tiny(objective, folder, init=init)

    class Cut(Exception):
        pass

    def cut_at(number):
        def on_step(done, _state):
            if done == number:
                raise Cut

        with pytest.raises(Cut):
            job.run(config, tmp_path / "run", on_step=on_step)

    cut_at(2)  # before the first checkpoint
    cut_at(5)
    cut_at(7)
    again = run(config, tmp_path / "run")
    assert min(again) == 7 and same(again[max(whole)], whole[max(whole)])
    steps = [json.loads(line)["step"] for line in (tmp_path / "run" / "metrics.jsonl").open()]
    assert steps == {"pretrain": [1, 2, 4, 6, 8], "sparse": [4, 6, 8, 10]}[objective]


def test_sigterm_saves_and_stops(folder, pretrained, tmp_path):
    config = job_configs.tiny("pretrain", folder, train__checkpoint_every=100)

    def on_step(done, _state):
        if done == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(job.Stopped, match="batch 4 of 8"):
        job.run(config, tmp_path / "run", on_step=on_step)
    assert (tmp_path / "run" / "checkpoints" / "4").is_dir()
    assert same(run(config, tmp_path / "run")[8], pretrained[1][8])


@pytest.mark.slow
def test_a_profile_is_written(folder, tmp_path):
    config = job_configs.tiny("pretrain", folder, train__steps=3)
    job.run(config, tmp_path / "run", profile=(1, 1))
    assert list((tmp_path / "run" / "profile").rglob("*.xplane.pb"))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"objective": "pretraining"}, "objective='pretraining' must be one of"),
        ({"mesh__data": 3}, "mesh data=3, .*: the product of the sizes must be the 1 devices"),
        ({"train__batch_size": 6}, "data.num_shards=4 must divide train.batch_size=6"),
        ({"pretrain__warmup_steps": 8}, "warmup_steps=8 must be less than train.steps=8"),
        ({"train__steps": 0}, "train.steps=0 must be at least 1"),
        ({"memory__blocks": (2,)}, r"memory blocks \[2\] must be different numbers from 0 to 1"),
        ({"memory__num_slots": 250}, "num_slots=250 must be a square number, such as 256"),
        ({"data__source": ""}, "data.source='' must say where"),
        ({"data__source": "text:/nowhere.txt"}, "/nowhere.txt: cannot be read"),
        ({"model__vocab_size": 100}, "model.vocab_size=100 must be at least 257, of the tokenizer"),
        ({"model__compute_dtype": "float16"}, "model.compute_dtype='float16' must be"),
        ({"mesh__rules__heads": ("memory",)}, "two axes of params.blocks.0.attention.key.kernel"),
        ({"memory__value_dim": 0}, "value_dim=0 must be at least 1"),
        ({"pretrain__b1": 2.0}, "pretrain.b1=2.0 must be at least 0 and below 1"),
        ({"init": "/nowhere"}, "/nowhere is no work directory of `smem train`"),
    ],
)
def test_bad_input_is_named_and_nothing_is_written(fields, message, folder, tmp_path):
    config = job_configs.tiny("pretrain", folder)
    with config.unlocked():
        config.update_from_flattened_dict(
            {name.replace("__", "."): value for name, value in fields.items()}
        )
    with pytest.raises(InputError, match=message):
        job.run(config, tmp_path / "run")
    assert not list(tmp_path.rglob("checkpoints/*"))


def test_work_directories_of_others_are_refused(folder, pretrained, tmp_path):
    config = job_configs.tiny("pretrain", folder)
    other = job_configs.tiny("pretrain", folder, seed=1)
    with pytest.raises(InputError, match="a finished job of another configuration; --overwrite"):
        job.run(other, pretrained[0])
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(InputError, match="is no work directory of `smem train`"):
        job.run(config, tmp_path, overwrite=True)
    assert (tmp_path / "letter.txt").read_text() == "mine"


def test_a_directory_whose_first_file_was_cut_off_is_new(folder, tmp_path):
    config = job_configs.tiny("pretrain", folder)
    (tmp_path / ".lock").touch()
    (tmp_path / "job.json.0123456789abcdef.partial").touch()
    assert files.is_new(tmp_path) and job_dir.check(tmp_path, config, False) is None
    (tmp_path / "letter.0123456789abcdef.txt").touch()
    assert not files.is_new(tmp_path)


def test_another_configuration_or_model_is_refused_by_name(folder, pretrained, tmp_path):
    def on_step(done, _state):
        if done == 4:
            raise KeyboardInterrupt

    config = job_configs.tiny("pretrain", folder)
    with pytest.raises(KeyboardInterrupt):
        job.run(config, tmp_path / "run", on_step=on_step)
    other = job_configs.tiny("pretrain", folder, pretrain__learning_rate=0.5)
    with pytest.raises(InputError, match="learning_rate"):
        job.run(other, tmp_path / "run")
    other = job_configs.tiny("sparse", folder, init=str(pretrained[0]), memory__num_slots=64)
    with pytest.raises(InputError, match=r"memory.num_slots is 256 there and 64 in this"):
        job.run(other, tmp_path / "other")
    # What gives arrays of the same shapes, too.
    other = job_configs.tiny("sparse", folder, init=str(pretrained[0]), model__rope_base=5e5)
    with pytest.raises(InputError, match=r"model.rope_base is 10000.0 there and 500000.0"):
        job.run(other, tmp_path / "other")
    assert run(config, tmp_path / "run")[8].step == 8


def test_a_finished_job_says_so_again_and_an_overwritten_one_starts_anew(folder, tmp_path):
    config = job_configs.tiny("pretrain", folder, train__steps=3)
    first = json.loads(json.dumps(job.run(config, tmp_path / "run")))
    assert job.run(config, tmp_path / "run") == first
    # Bad input drops nothing.
    for fields in ({"init": str(tmp_path / "run")}, {"data__source": "text:/nowhere.txt"}):
        wrong = job_configs.tiny("pretrain", folder, train__steps=4, **fields)
        with pytest.raises(InputError):
            job.run(wrong, tmp_path / "run", overwrite=True)
    assert job.run(config, tmp_path / "run") == first
    other = job_configs.tiny("pretrain", folder, train__steps=4)
    assert min(run(other, tmp_path / "run", overwrite=True)) == 1


def test_a_directory_whose_emptying_was_cut_off_is_not_gone_on_with(folder, tmp_path, monkeypatch):
    config = job_configs.tiny("pretrain", folder, train__steps=3)
    job.run(config, tmp_path / "run")

    def cut_off(_path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(files.shutil, "rmtree", cut_off)
        with pytest.raises(KeyboardInterrupt):
            job.run(config, tmp_path / "run", overwrite=True)
    assert (tmp_path / "run" / ".dropped").is_dir()
    assert min(run(config, tmp_path / "run", overwrite=True)) == 1
    assert not (tmp_path / "run" / ".dropped").exists()


def test_a_model_without_memory_can_be_pretrained(folder, tmp_path):
    config = job_configs.tiny("pretrain", folder, memory__blocks=(), train__steps=3)
    assert "slot_entropy" not in job.run(config, tmp_path / "run")["last"]
