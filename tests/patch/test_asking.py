"""From a stream to its patch, and from patches to answers: a tiny model, the real commands."""

import json
import shutil
import sys

import jax.numpy as jnp
import numpy as np
import pytest
import tiny_stream
from flax import nnx

from smem_jax import cli
from smem_jax import patch as patches
from smem_jax.evaluate import ask, heard
from smem_jax.evaluate.sampling import Sampling
from smem_jax.evaluate.streaming import Streamer
from smem_jax.memory.layer import MemoryLayer
from smem_jax.memory.relevance import RelevanceGate
from smem_jax.memory.tables import ValueTable
from smem_jax.models.retrofit import memory_layer
from smem_jax.models.transformer import default_positions
from smem_jax.train import learners, stream


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished stream with a relevance gate: its directory and the model it ended with."""
    folder = tmp_path_factory.mktemp("stream")
    config = tiny_stream.config(folder, count=4)
    config.memory.num_slots = 1024
    config.learner.update(
        {"optimizer": "adam", "learning_rate": 0.5, "steps": 2, "top_t": 12, "select_once": True}
    )
    config.learner.update({"new_rows_only": True, "relevance_threshold": 2})
    taught = []
    make = learners.make
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(learners, "make", lambda *a: taught.append(make(*a)) or taught[0])
        stream.run(config.lock(), folder / "run")
    return folder / "run", taught[0].model()


@pytest.fixture
def small(run, tmp_path):
    """The patch of that run as a small file."""
    path = tmp_path / "small.safetensors"
    assert cli.main(["patch", "save", "--workdir", str(run[0]), "--output", str(path)]) == 0
    return path


def test_the_patch_of_a_stream_gives_its_model_to_the_bit(run):
    workdir, taught = run
    restored = ask.restore(workdir)
    tokens = jnp.asarray([restored.tokenizer.encode("Q: Who wrote book 1?\nA: Bob")])
    np.testing.assert_array_equal(np.asarray(restored.model(tokens)), np.asarray(taught(tokens)))
    patch = patches.load(workdir / patches.LEARNED)
    assert patch.num_lessons == 4 and patch.about.relevance.threshold == 2
    assert sorted(text[:18] for text in patch.about.taught) == sorted(
        text[:18] for text in restored.lessons
    )
    assert all(text.startswith("Q: Who wrote book") for text in patch.about.taught)
    assert patch.about.effect.keys() >= {"recall_reworded", "known_change", "wikitext_nll_change"}


def test_rows_that_are_kept_apart_say_what_a_whole_table_says(run):
    """The compact table of a patched model against a layer with a table of all slots."""
    restored = ask.restore(run[0])
    model, block = restored.model, restored.block
    patch = patches.load(run[0] / patches.LEARNED)
    layer = memory_layer(model, block)
    dense = MemoryLayer(layer.config, table=ValueTable(layer.config, rngs=None), rngs=nnx.Rngs(0))
    patch.layout.put(dense)
    whole = patches.PatchedTable(dense.table.values[...])
    whole.apply(patch)
    dense.table.values = dense.table.values.replace(whole.values)
    dense.relevance = nnx.data(RelevanceGate(whole.groups, whole.relevance))
    x = model.embed(jnp.asarray([restored.tokenizer.encode(restored.lessons[0])]))
    _, hidden, _ = model.blocks[block].before_memory(x, default_positions(x))
    expected = np.asarray(dense(hidden))
    np.testing.assert_array_equal(np.asarray(layer(hidden)), expected)
    assert np.abs(expected).max() > 0


def test_which_lesson_a_token_hears(run):
    restored = ask.restore(run[0])
    question = restored.lessons[2]
    found = heard.heard(restored, question)
    assert [token.token for token in found] == list(question)  # one token a byte
    layer = memory_layer(restored.model, restored.block)
    values = np.asarray(layer.table.values[...])
    for token in found:
        assert list(token.weights) == sorted(token.weights, reverse=True)
        assert all(values[int(layer.table.places(jnp.asarray(s)))].any() for s in token.slots)
        assert bool(token.lesson) == any(token.open)
    assert any(token.lesson == question for token in found)


def test_a_conversation_goes_on_from_what_was_said(run):
    restored = ask.restore(run[0])
    conversation = ask.Conversation(restored, Sampling(max_new_tokens=3))
    first = "".join(conversation.answer("Who?"))
    assert conversation.prompt_of("And?") == f"Q: Who?\nA: {first.strip()}\nQ: And?\nA:"
    conversation.clear()
    assert conversation.prompt_of("And?") == "Q: And?\nA:"
    [at_once] = ask.ask(restored, ["Who?"], 3)
    assert first.strip() == at_once


def test_a_chat_is_messages_in_the_template(run, small, tmp_path, capsys):
    arguments = ["ask", "--patch", str(small), "--chat", "--max-tokens", "3", "Who?"]
    assert cli.main(arguments) == 2
    assert "the base model has no chat template" in capsys.readouterr().err
    base = tmp_path / "base"
    shutil.copytree(patches.load(small).about.base, base)
    (base / "chat_template.jinja").write_text(
        "{% for m in messages %}{{ m.role[0] }}>{{ m.content }}<eos>{% endfor %}a>"
    )
    taught = ask.restore(files=[small], model=str(base))
    conversation = ask.Conversation(taught, Sampling(max_new_tokens=3), chat=True)
    said = "".join(conversation.answer("Who?"))
    streamer = Streamer(taught.model, taught.tokenizer)
    stops = taught.tokenizer.special_ids
    pieces = streamer.stream("u>Who?<eos>a>", stops, Sampling(max_new_tokens=3))
    assert said == "".join(pieces).lstrip()
    assert conversation.prompt_of("How?") == f"u>Who?<eos>a>{said.strip()}<eos>u>How?<eos>a>"
    assert cli.main([*arguments, "--model", str(base)]) == 0
    assert capsys.readouterr().out == f"{said}\n"


def test_without_memory_the_base_model_speaks(run):
    restored = ask.restore(run[0])
    silent = ask.Conversation(restored, Sampling(max_new_tokens=8), with_memory=False)
    said = "".join(silent.answer("Who wrote book 1?")).strip()
    # Taking the voice did not take the memory of the other one, which says something else.
    table = memory_layer(restored.model, restored.block).table
    assert table.values[...].any()
    assert ask.ask(restored, ["Who wrote book 1?"], 8) != [said]
    table.values[...] *= 0
    assert ask.ask(restored, ["Who wrote book 1?"], 8) == [said]


def test_patch_commands_from_one_end_to_the_other(run, small, tmp_path, capsys):
    place = tmp_path / "applied"
    assert cli.main(["patch", "info", str(small)]) == 0
    assert 'relevance            {"threshold": 2' in capsys.readouterr().out
    assert cli.main(["patch", "info", "--json", str(small)]) == 0
    assert json.loads(capsys.readouterr().out)["lessons"] == 4
    assert cli.main(["patch", "apply", str(small), "--workdir", str(place)]) == 0
    assert [p.name for p in (place / "patches").iterdir()] == ["small.safetensors"]
    capsys.readouterr()
    assert cli.main(["ask", "--workdir", str(place), "--max-tokens", "4", "Who?", "How?"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == ask.ask(ask.restore(files=[small]), ["Who?", "How?"], 4)
    # Once more is refused, and the same under another name.
    assert cli.main(["patch", "apply", str(small), "--workdir", str(place)]) == 2
    assert "patch 'small' is given twice" in capsys.readouterr().err
    assert cli.main(["patch", "revert", "small", "--workdir", str(place)]) == 0
    assert not list((place / "patches").iterdir())
    assert cli.main(["patch", "revert", "small", "--workdir", str(place)]) == 2
    assert "no patch 'small' is applied; these are: none" in capsys.readouterr().err
    assert cli.main(["ask", "--workdir", str(place), "Who?"]) == 2
    facts = tmp_path / "facts.jsonl"
    facts.write_text(json.dumps({"question": "Who wrote book 1?", "answer": "Bob"}))
    assert cli.main(["patch", "verify", str(small), "--facts", str(facts)]) == 0
    assert "reworded" in capsys.readouterr().out
    assert cli.main(["patch", "diff", str(small), str(small)]) == 0
    assert json.loads(capsys.readouterr().out)["slots_only_a"] == 0
    merged = tmp_path / "m.safetensors"
    both = [str(small), str(run[0] / patches.LEARNED), "--output", str(merged)]
    assert cli.main(["patch", "merge", *both]) == 0
    found = patches.load(merged)
    assert found.about.name == "m" and set(found.rows.arrays) == {"rows", "scales"}
    # A file that has another patch in it than its name says is not lost.
    (place / "patches" / "m.safetensors").write_bytes(small.read_bytes())
    assert cli.main(["patch", "apply", str(merged), "--workdir", str(place)]) == 2
    assert "is there already, and has another patch in it" in capsys.readouterr().err
    assert cli.main(["patch", "revert", "small", "--workdir", str(place)]) == 0


def test_slots_and_both_voices_are_shown(run, small, capsys):
    arguments = ["ask", "--patch", str(small), "--show-slots", "--without-memory", "Who?"]
    assert cli.main([*arguments, "--max-tokens", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("with memory: ") and lines[1].startswith("without: ")
    assert lines[2].split() == ["token", "taught", "heard", "slots", "(weight)", "lesson"]
    assert len(lines) == 3 + len("Q: Who?\nA:")


def test_a_prompt_opens_where_no_question_is_given(small, capsys, monkeypatch):
    typed = iter(["Who?", "", "/clear", "How?", "/quit", "never asked"])
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda prompt: next(typed))
    assert cli.main(["ask", "--patch", str(small), "--max-tokens", "3"]) == 0
    assert next(typed) == "never asked"
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_patches_of_another_base_or_layout_are_refused(run, small, tmp_path, capsys):
    patch = patches.load(small)
    other = tmp_path / "other.safetensors"
    layout = patch.layout._replace(query_bias=patch.layout.query_bias + 1)
    about = patches.About(**{**vars(patch.about), "layout_fingerprint": layout.fingerprint()})
    slots = (patch.slots + 1) % patch.about.num_slots
    patches.save(patches.Patch(about, slots, patch.starts, patch.rows, layout), other)
    assert cli.main(["ask", "--patch", str(small), "--patch", str(other), "Who?"]) == 2
    assert "has other queries and sub-keys" in capsys.readouterr().err
    about = patches.About(**{**vars(patch.about), "base_fingerprint": "f" * 64, "name": "far"})
    patches.save(patches.Patch(about, slots, patch.starts, patch.rows, patch.layout), other)
    assert cli.main(["ask", "--patch", str(other), "Who?"]) == 2
    assert "is for the base model ffffffffffff" in capsys.readouterr().err
    assert cli.main(["patch", "apply", str(other), "--workdir", str(run[0])]) == 2
    assert not (run[0] / "patches").exists()
    bare = tmp_path / "bare.safetensors"
    patches.save(patches.restored(patch, layout=False), bare)
    assert cli.main(["ask", "--patch", str(bare), "Who?"]) == 2
    assert "no patch with queries and sub-keys is given" in capsys.readouterr().err


def test_an_apply_that_is_cut_off_leaves_nothing(small, tmp_path, monkeypatch, capsys):
    place = tmp_path / "applied"
    shutil.copytree(small.parent, place / "patches", ignore=lambda *_: ["applied"])
    (place / "patches" / small.name).rename(place / "patches" / "old.safetensors")
    renamed = patches.restored(patches.load(small), name="new", storage="float32")
    patches.save(renamed, small)

    def fails(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("smem_jax.atomic.os.link", fails)
    assert cli.main(["patch", "apply", str(small), "--workdir", str(place)]) == 2
    assert [p.name for p in (place / "patches").iterdir()] == ["old.safetensors"]
