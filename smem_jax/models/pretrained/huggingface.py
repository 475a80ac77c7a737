"""Import of a Hugging Face directory: config.json, safetensors, tokenizer.json."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from smem_jax import json_file
from smem_jax.errors import InputError, plain
from smem_jax.models.config import ModelConfig, RopeScaling
from smem_jax.models.pretrained import safetensors_file
from smem_jax.models.pretrained.checks import build_config, build_scaling, check_shapes
from smem_jax.models.pretrained.tokenizer import Tokenizer, from_directory

_ARCHITECTURE = "LlamaForCausalLM"
_WEIGHTS = "model.safetensors"
_INDEX = "model.safetensors.index.json"
CHAT_TEMPLATE = "chat_template.jinja"


def read(directory: Path) -> tuple[ModelConfig, dict[str, np.ndarray], Tokenizer]:
    """Sizes, float32 weights and tokenizer of a Hugging Face checkpoint directory.

    Raises InputError for an architecture or an option that is not supported, and for a file that is
    missing or damaged.
    """
    path = directory / "config.json"
    fields = json_file.read(path)
    _refuse_unsupported(path, fields)
    config = _config(path, fields)
    tensors = _weights(directory, config)
    return config, tensors, from_directory(directory, fields, _chat_template(directory))


def _chat_template(directory: Path) -> str | None:
    """The chat template, from a file of its own or from tokenizer_config.json; None without one."""
    own, path = directory / CHAT_TEMPLATE, directory / "tokenizer_config.json"
    if own.is_file():
        return own.read_text(encoding="utf-8", errors="replace")
    found = json_file.read(path).get("chat_template") if path.is_file() else None
    if isinstance(found, list):  # several, by name
        of_default = (each for each in found if isinstance(each, dict))
        of_default = (each for each in of_default if each.get("name") == "default")
        found = next(of_default, {}).get("template")
    if not isinstance(found, str | None):
        raise InputError(f"{path}: chat_template should be text, got a {type(found).__name__}")
    return found


def _refuse_unsupported(path: Path, fields: dict[str, Any]) -> None:
    architectures = fields.get("architectures") or [fields.get("model_type")]
    if architectures not in ([_ARCHITECTURE], ["llama"]):
        raise InputError(
            f"{path}: architectures={architectures!r} is not supported; {[_ARCHITECTURE]!r} is"
        )
    for name in ("attention_bias", "mlp_bias"):
        if fields.get(name):
            raise InputError(f"{path}: {name}=true is not supported")
    activation = fields.get("hidden_act", "silu")
    if activation != "silu":
        raise InputError(f"{path}: hidden_act={activation!r} is not supported; 'silu' is")
    if "quantization_config" in fields:
        raise InputError(f"{path}: quantised weights (quantization_config) are not supported")


def number(
    path: Path, fields: Mapping[str, Any], name: str, kind: type, default: Any = None
) -> Any:
    """A field of type `kind`, int or float; null counts as absent; no default: it must be there."""
    value = fields.get(name)
    value = default if value is None else value
    if value is None:
        raise InputError(f"{path}: field {name!r} is missing")
    allowed = int if kind is int else (int, float)
    if not isinstance(value, allowed) or isinstance(value, bool):
        raise InputError(f"{path}: {name}={value!r} should be {kind.__name__}")
    try:
        return kind(value)
    except OverflowError as error:
        raise InputError(f"{path}: {name}={value!r} is too large") from error


def _config(path: Path, fields: dict[str, Any]) -> ModelConfig:
    def size(name: str, default: int | None = None) -> int:
        return number(path, fields, name, int, default)

    embed_dim, num_heads = size("hidden_size"), size("num_attention_heads")
    rope_base, rope_scaling = _rope(path, fields)
    # Defaults are those of the LlamaConfig class, which writes only what differs from them.
    return build_config(
        path,
        vocab_size=size("vocab_size"),
        num_blocks=size("num_hidden_layers"),
        embed_dim=embed_dim,
        num_heads=num_heads,
        num_kv_heads=size("num_key_value_heads", num_heads),
        head_dim=size("head_dim", embed_dim // max(num_heads, 1)),
        ffn_dim=size("intermediate_size"),
        rope_base=rope_base,
        rope_scaling=rope_scaling,
        norm_epsilon=number(path, fields, "rms_norm_eps", float, 1e-6),
        tied_embeddings=bool(fields.get("tie_word_embeddings", False)),
        max_positions=size("max_position_embeddings", 2048),
    )


def _rope(path: Path, fields: dict[str, Any]) -> tuple[float, RopeScaling | None]:
    """Base and scaling, from `rope_parameters` (transformers 5) or its two older fields."""
    name = "rope_parameters" if fields.get("rope_parameters") else "rope_scaling"
    rope = fields.get(name) or {}
    if not isinstance(rope, dict):
        raise InputError(f"{path}: {name} should be an object, got {rope!r}")
    base = number(path, fields | rope, "rope_theta", float, 1e4)
    kind = str(rope.get("rope_type") or rope.get("type") or "default")
    if kind == "default":
        return base, None
    factor = number(path, rope, "factor", float)
    if kind != "llama3":
        return base, build_scaling(path, kind, factor)
    return base, build_scaling(
        path,
        kind,
        factor,
        low_freq_factor=number(path, rope, "low_freq_factor", float),
        high_freq_factor=number(path, rope, "high_freq_factor", float),
        original_max_positions=number(path, rope, "original_max_position_embeddings", int),
    )


def _weights(directory: Path, config: ModelConfig) -> dict[str, np.ndarray]:
    tensors: dict[str, np.ndarray] = {}
    for path in _weight_files(directory):
        if not path.is_file():
            raise InputError(f"{path}: no such file")
        tensors |= safetensors_file.read(path)
    if config.tied_embeddings:
        tensors.pop("lm_head.weight", None)
    # Old checkpoints keep the rotary frequencies, which follow from the configuration.
    tensors = {name: t for name, t in tensors.items() if not name.endswith("rotary_emb.inv_freq")}
    check_shapes(directory, config, {name: tensor.shape for name, tensor in tensors.items()})
    return tensors


def _weight_files(directory: Path) -> list[Path]:
    index = directory / _INDEX
    if not index.exists():
        return [directory / _WEIGHTS]
    weight_map = json_file.read(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise InputError(f"{index}: field 'weight_map' should be a non-empty object")
    names = sorted(set(map(str, weight_map.values())))
    there = {path.name for path in directory.iterdir()}
    for name in names:  # one with a slash in it is none of these
        if name not in there:
            raise InputError(f"{index}: {plain(name[:80])!r} must be the name of a file beside it")
    return [directory / name for name in names]
