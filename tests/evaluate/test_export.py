"""A taught model as a directory of its own, and back."""

import errno
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_adapter
import tiny_llama
import tiny_patches

from smem_jax import cli
from smem_jax import patch as patches
from smem_jax.evaluate.ask import restore
from smem_jax.models import lora, peft, pretrained
from smem_jax.models.pretrained import export
from smem_jax.models.transformer import Transformer


@pytest.mark.parametrize("variant", tiny_llama.VARIANTS)
def test_a_checkpoint_comes_back_bit_for_bit(tmp_path, variant):
    base = pretrained.load(str(tiny_llama.write(tmp_path / "model", variant)))
    export.write(base, tmp_path / "out")
    again = pretrained.load(str(tmp_path / "out"))
    assert again.config == base.config
    assert pretrained.fingerprint(again.tensors) == pretrained.fingerprint(base.tensors)
    for name, tensor in base.tensors.items():
        np.testing.assert_array_equal(again.tensors[name], tensor)
    text = "Q: who?\nA: é"
    assert again.tokenizer.encode(text) == base.tokenizer.encode(text)
    for name in ("eos_id", "bos_id", "pad_id", "special_ids"):
        assert getattr(again.tokenizer, name) == getattr(base.tokenizer, name)
    names = json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())
    assert names["eos_token"] == "<eos>" and names["bos_token"] == "<bos>"
    tokens = tiny_llama.tokens()
    models = (Transformer.from_tensors(b.config, b.tensors) for b in (base, again))
    one, other = (np.asarray(model(tokens)) for model in models)
    np.testing.assert_array_equal(one, other)


@pytest.fixture
def two_patches(tmp_path):
    return tiny_patches.write(tmp_path)


def test_an_exported_directory_has_the_logits_of_the_patched_model(two_patches, tmp_path, capsys):
    out = tmp_path / "exported"
    given = [word for path in two_patches for word in ("--patch", str(path))]
    assert cli.main(["export", *given, "--output", str(out)]) == 0
    expected, found = restore(files=two_patches), restore(out)
    tokens = jnp.asarray(tiny_llama.tokens())
    untaught = Transformer.from_tensors(*pretrained.load(str(out))[:2])
    logits = np.asarray(expected.model(tokens))
    assert np.abs(logits - np.asarray(untaught(tokens))).max() > 0.1
    np.testing.assert_array_equal(np.asarray(found.model(tokens)), logits)
    card = (out / "README.md").read_text()
    assert "51 rows for a table of 64 slots in block 0" in card
    assert "memory patches:\na, b" in card and "- b two" in card
    # The card names the model that the weights were read from.
    other = tmp_path / "elsewhere"
    shutil.copytree(tmp_path / "model", other)
    named = ["--model", str(other), "--output", str(tmp_path / "named")]
    assert cli.main(["export", *given, *named]) == 0
    assert str(other) in (tmp_path / "named" / "README.md").read_text()
    # The base model is the directory's own, wherever that goes.
    moved = out.rename(tmp_path / "moved")
    (tmp_path / "model").rename(tmp_path / "gone")
    assert cli.main(["ask", "--workdir", str(moved), "--max-tokens", "2", "Who?"]) == 0
    capsys.readouterr()
    assert cli.main(["export", *given, "--output", str(moved)]) == 2
    assert "must be a new or an empty directory" in capsys.readouterr().err
    # And what was exported can be exported again, and is refused without what finds its rows.
    again = ["export", "--workdir", str(moved), "--output", str(tmp_path / "again")]
    assert cli.main(again) == 0
    bare = tmp_path / "bare.safetensors"
    patches.save(patches.restored(patches.load(two_patches[0]), layout=False), bare)
    assert cli.main(["export", "--patch", str(bare), "--output", str(tmp_path / "bare")]) == 2
    assert not (tmp_path / "bare").exists()


def test_an_export_that_ends_early_leaves_nothing_and_can_be_made_anew(
    two_patches, tmp_path, capsys, monkeypatch
):
    out = tmp_path / "folder" / "exported"
    command = ["export", "--patch", str(two_patches[0]), "--output", str(out)]
    with monkeypatch.context() as patched:
        patched.setattr(export.atomic, "write_text", _is_full)  # the last of what is written
        assert cli.main(command) == 2
    assert "No space left" in capsys.readouterr().err
    assert list(out.parent.iterdir()) == []
    assert cli.main(command) == 0
    restore(out)  # which reads all of it
    empty = tmp_path / "empty"
    empty.mkdir()
    assert cli.main([*command[:-1], str(empty)]) == 0
    assert {file.name for file in empty.iterdir()} == {file.name for file in out.iterdir()}


def _is_full(path, text):
    assert path.parent.joinpath("model.safetensors").is_file()
    raise OSError(errno.ENOSPC, "No space left on device")


def test_the_adapter_of_a_run_goes_with_its_base_model(tmp_path, capsys):
    path = tiny_llama.write(tmp_path / "model", "linear_rope")
    base = pretrained.load(str(path))
    adapted = tiny_adapter.adapted(base, 0.3)
    peft.save(adapted, tmp_path / "run" / peft.DIRECTORY, str(path))
    out = tmp_path / "out"
    arguments = ["export", "--workdir", str(tmp_path / "run"), "--output"]
    assert cli.main([*arguments, str(out)]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    again = pretrained.load(str(out))
    assert pretrained.fingerprint(again.tensors) == pretrained.fingerprint(base.tensors)
    model = Transformer.from_tensors(again.config, again.tensors)
    peft.load(model, out / "adapter")
    jax.tree.map(np.testing.assert_array_equal, lora.lora_state(model), lora.lora_state(adapted))
    card = (out / "README.md").read_text()
    assert "`adapter/` has low-rank adapters" in card and "patches" not in card
    # One that is for no such model is refused before anything is written.
    wider = tiny_llama.write(tmp_path / "wider", "llama3_rope")
    assert cli.main([*arguments, str(tmp_path / "no"), "--model", str(wider)]) == 2
    assert "has shape (32, 3), expected (64, 3)" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()
