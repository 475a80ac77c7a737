"""LoRA adapters as directories of PEFT, against what PEFT itself made of one of ours."""

import json
import pathlib

import jax
import numpy as np
import pytest
import tiny_adapter
import tiny_llama
from flax import nnx

from smem_jax.errors import InputError
from smem_jax.models import lora, peft, pretrained
from smem_jax.models.pretrained import safetensors_file
from smem_jax.models.transformer import Transformer

_REFERENCE = pathlib.Path(__file__).parents[1] / "fixtures" / "tiny_adapter.npz"
_run = nnx.jit(lambda model, tokens: model(tokens))


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return pretrained.load(
        str(tiny_llama.write(tmp_path_factory.mktemp("llama"), "grouped_untied"))
    )


@pytest.fixture(scope="module")
def adapted(base):
    return tiny_adapter.adapted(base, 0.3)


@pytest.fixture
def saved(adapted, tmp_path):
    peft.save(adapted, tmp_path / "adapter", "where/it/is")
    return tmp_path / "adapter"


@pytest.fixture
def model(base):
    return Transformer.from_tensors(base.config, base.tensors)


@pytest.fixture(scope="module")
def reference():
    return np.load(_REFERENCE)


def test_the_logits_are_those_of_peft(adapted, model, reference):
    found = np.asarray(_run(adapted, tiny_llama.tokens()))[:, [0, 1, -2, -1]]
    np.testing.assert_allclose(found, reference["logits"], atol=1e-4)
    plain = np.asarray(_run(model, tiny_llama.tokens()))[:, [0, 1, -2, -1]]
    assert np.abs(plain - found).max() > 0.1


def test_what_was_saved_comes_back_bit_for_bit(adapted, model, saved):
    peft.load(model, saved)
    jax.tree.map(np.testing.assert_array_equal, lora.lora_state(model), lora.lora_state(adapted))
    np.testing.assert_array_equal(
        np.asarray(_run(model, tiny_llama.tokens())), np.asarray(_run(adapted, tiny_llama.tokens()))
    )
    assert nnx.graphdef(model) == nnx.graphdef(adapted)


def test_names_and_configuration_are_those_that_peft_writes(saved, model, reference):
    names = sorted(safetensors_file.read(saved / "adapter_model.safetensors"))
    assert names == reference["names"].tolist()
    path = saved / "adapter_config.json"
    ours, theirs = json.loads(path.read_text()), json.loads(str(reference["config"]))
    assert ours.pop("base_model_name_or_path") == "where/it/is"
    assert ours == {name: theirs[name] for name in ours}
    # What PEFT writes beyond is as it is by default, and is taken.
    path.write_text(json.dumps(theirs))
    peft.load(model, saved)
    assert lora.has_lora(model)


def test_layers_that_an_adapter_leaves_out_stay_as_they_are(model, saved):
    path = saved / "adapter_model.safetensors"
    tensors = safetensors_file.read(path)
    second = {name: tensor for name, tensor in tensors.items() if ".layers.1." in name}
    safetensors_file.write(path, second, {})
    peft.load(model, saved)
    adapted = {place[1:] for place, layer in lora.layers(model) if hasattr(layer, "alpha")}
    parts = {"query": "attention", "key": "attention", "out": "attention", "up": "ffn"}
    assert adapted == {(1, part, name) for name, part in [*parts.items(), ("down", "ffn")]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"peft_type": "IA3"}, "peft_type='IA3' must be 'LORA'"),
        ({"use_rslora": True}, "use_rslora=True is not supported"),
        ({"alpha_pattern": {"q_proj": 4}}, "alpha_pattern={'q_proj': 4} is not supported"),
        ({"r": 0}, "r=0 must be at least 1"),
        ({"r": 4}, r"lora_A.weight' has shape \(3, 32\), expected \(4, 32\)"),
        ({"lora_alpha": "8"}, "lora_alpha='8' should be float"),
        ({"lora_alpha": 0}, r"lora_alpha=0\.0 must be above 0"),
    ],
)
def test_what_is_not_supported_is_named_and_changes_nothing(model, saved, change, message):
    path = saved / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=message):
        peft.load(model, saved)
    assert not lora.has_lora(model)


def test_tensors_that_are_missing_or_have_no_place_are_named(model, saved):
    path = saved / "adapter_model.safetensors"
    tensors = safetensors_file.read(path)
    first = "base_model.model.model.layers.0.self_attn.q_proj"
    alone = {name: t for name, t in tensors.items() if name != f"{first}.lora_B.weight"}
    dora = tensors | {f"{first}.lora_magnitude_vector": np.ones(32, np.float32)}
    for wrong, message in (
        (alone, "q_proj.lora_B.weight' is missing"),
        (dora, "lora_magnitude_vector' has no place in the linear layers of this model"),
        ({}, "no adapters are in it"),
    ):
        safetensors_file.write(path, wrong, {})
        with pytest.raises(InputError, match=message):
            peft.load(model, saved)
    path.unlink()
    with pytest.raises(InputError, match=r"adapter_model\.safetensors: no such file"):
        peft.load(model, saved)
    assert not lora.has_lora(model)


def test_a_model_without_adapters_has_none_to_save_and_one_with_them_takes_no_others(
    model, adapted, saved, tmp_path
):
    with pytest.raises(InputError, match="no LoRA adapters"):
        peft.save(model, tmp_path / "none", "")
    assert not (tmp_path / "none").exists()
    with pytest.raises(InputError, match="has LoRA adapters already"):
        peft.load(adapted, saved)
    assert peft.base_of(saved) == "where/it/is"
    (saved / "adapter_config.json").write_text("{}")
    with pytest.raises(InputError, match="names no model; give --model"):
        peft.base_of(saved)
