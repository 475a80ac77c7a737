"""Import of a GGUF file (architecture `llama`)."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from smem_jax.errors import InputError
from smem_jax.models import rope
from smem_jax.models.config import ModelConfig, RopeScaling
from smem_jax.models.pretrained import gguf_file
from smem_jax.models.pretrained.checks import build_config, build_scaling, check_shapes
from smem_jax.models.pretrained.gguf_file import GGUFFile
from smem_jax.models.pretrained.tokenizer import Tokenizer, from_gguf

_TOP_LEVEL = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_IN_BLOCK = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_ROPE_DIVISORS = "rope_freqs.weight"


def read(path: Path) -> tuple[ModelConfig, dict[str, np.ndarray], Tokenizer]:
    """Sizes, float32 weights under their Hugging Face names, and tokenizer of a GGUF file.

    Raises InputError for an architecture, a rotary scaling, a tokenizer or a tensor that is not
    supported, and for a damaged file.
    """
    file = gguf_file.read(path)
    architecture = file.metadata.get("general.architecture")
    if architecture != "llama":
        raise InputError(f"{path}: architecture {architecture!r} is not supported; 'llama' is")
    config = _config(file)
    return config, _weights(file, config), from_gguf(file)


def _field(file: GGUFFile, key: str, kinds: type | tuple[type, ...], default: Any = None) -> Any:
    """A metadata field of an expected type; without a default it must be there."""
    value = file.metadata.get(key, default)
    if value is None:
        raise InputError(f"{file.path}: metadata field {key!r} is missing")
    if not isinstance(value, kinds) or isinstance(value, bool):
        raise InputError(
            f"{file.path}: metadata field {key!r} is a {type(value).__name__}, "
            "which is not supported"
        )
    return value


def _config(file: GGUFFile) -> ModelConfig:
    def size(name: str, default: int | None = None) -> int:
        return _field(file, f"llama.{name}", int, default)

    if size("expert_count", 0):
        raise InputError(f"{file.path}: a mixture of experts (llama.expert_count) is not supported")
    if "token_embd.weight" not in file.tensors:
        raise InputError(f"{file.path}: tensor 'token_embd.weight' is missing")
    embed_dim, num_heads = size("embedding_length"), size("attention.head_count")
    head_dim = size("attention.key_length", embed_dim // max(num_heads, 1))
    for name in ("rope.dimension_count", "attention.value_length"):
        if size(name, head_dim) != head_dim:
            raise InputError(
                f"{file.path}: llama.{name}={size(name)} differs from the head size {head_dim}, "
                "which is not supported"
            )
    config = build_config(
        file.path,
        vocab_size=len(file.tensors["token_embd.weight"][0]),
        num_blocks=size("block_count"),
        embed_dim=embed_dim,
        num_heads=num_heads,
        num_kv_heads=size("attention.head_count_kv", num_heads),
        head_dim=head_dim,
        ffn_dim=size("feed_forward_length"),
        rope_base=_field(file, "llama.rope.freq_base", float, 10_000.0),
        norm_epsilon=_field(file, "llama.attention.layer_norm_rms_epsilon", float),
        tied_embeddings="output.weight" not in file.tensors,
        max_positions=size("context_length"),
    )
    return dataclasses.replace(config, rope_scaling=_rope_scaling(file, config))


def _rope_scaling(file: GGUFFile, config: ModelConfig) -> RopeScaling | None:
    if _ROPE_DIVISORS in file.tensors:
        return _llama3_scaling(file, config)
    # Files from before 2024 have the factor alone, under another name.
    factor = _field(file, "llama.rope.scale_linear", float, 1.0)
    factor = _field(file, "llama.rope.scaling.factor", float, factor)
    kind = _field(file, "llama.rope.scaling.type", str, "linear")
    if kind not in ("none", "linear"):
        raise InputError(f"{file.path}: rope scaling {kind!r} is not supported; 'linear' is")
    return None if kind == "none" or factor == 1.0 else build_scaling(file.path, kind, factor)


def _llama3_scaling(file: GGUFFile, config: ModelConfig) -> RopeScaling:
    """The setting behind a table of frequency divisors.

    GGUF keeps the divisors that Llama 3's rule gives and not the rule. Every published Llama 3.1
    to 3.3 uses the same three constants, so the rule with these and the largest divisor is tried,
    and a table which it does not reproduce is refused.
    """
    divisors = gguf_file.dequantize(file, _ROPE_DIVISORS).ravel()
    scaling = build_scaling(file.path, "llama3", float(divisors.max()))
    scaled = rope.frequencies(dataclasses.replace(config, rope_scaling=scaling))
    expected = rope.frequencies(config) / scaled
    if divisors.shape != expected.shape or not np.allclose(divisors, expected, rtol=1e-4):
        raise InputError(
            f"{file.path}: the divisors in {_ROPE_DIVISORS!r} are not those of Llama 3.1 to 3.3"
        )
    return scaling


def _weights(file: GGUFFile, config: ModelConfig) -> dict[str, np.ndarray]:
    tensors = {
        _hugging_face_name(name): gguf_file.dequantize(file, name)
        for name in file.tensors
        if name != _ROPE_DIVISORS
    }
    check_shapes(file.path, config, {name: weight.shape for name, weight in tensors.items()})
    for name, weight in tensors.items():
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            tensors[name] = rope.to_rotate_half(weight, config.head_dim)
    return tensors


def _hugging_face_name(name: str) -> str:
    """The Hugging Face name of a tensor; one without counterpart keeps its own, to be reported."""
    parts = name.split(".")
    if parts[0] == "blk" and len(parts) == 4 and parts[2] in _IN_BLOCK:
        return f"model.layers.{parts[1]}.{_IN_BLOCK[parts[2]]}.{parts[3]}"
    return _TOP_LEVEL.get(name, name)
