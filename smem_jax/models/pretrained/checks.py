"""What every checkpoint must fulfil, whatever file it came from."""

from collections.abc import Mapping
from pathlib import Path

from smem_jax.errors import InputError
from smem_jax.models.config import ModelConfig, RopeScaling

_SIZES = (
    "vocab_size",
    "num_blocks",
    "embed_dim",
    "num_heads",
    "num_kv_heads",
    "head_dim",
    "ffn_dim",
    "max_positions",
)
# What a damaged or hostile file may ask for, before any tensor is looked at.
_MOST, _MOST_BLOCKS = 2**31 - 1, 10_000


def build_config(path: Path, **fields) -> ModelConfig:
    """A ModelConfig of `fields`; InputError naming `path` where a size makes no sense."""
    for name in _SIZES:
        if not 1 <= fields[name] <= _MOST:
            raise InputError(f"{path}: {name}={fields[name]} must be from 1 to {_MOST}")
    if fields["num_blocks"] > _MOST_BLOCKS:
        raise InputError(f"{path}: num_blocks={fields['num_blocks']} exceeds {_MOST_BLOCKS}")
    try:
        return ModelConfig(**fields)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error


def build_scaling(path: Path, kind: str, factor: float, **fields) -> RopeScaling:
    """A RopeScaling; InputError naming `path` for a kind or factor that is not supported."""
    try:
        return RopeScaling(kind, factor, **fields)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error


def tensor_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape [out, in] of every weight of a Llama decoder, in the Hugging Face layout."""
    embed, ffn = config.embed_dim, config.ffn_dim
    queries, keys = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (config.vocab_size, embed),
        "model.norm.weight": (embed,),
    }
    if not config.tied_embeddings:
        shapes["lm_head.weight"] = (config.vocab_size, embed)
    block = {
        "input_layernorm": (embed,),
        "self_attn.q_proj": (queries, embed),
        "self_attn.k_proj": (keys, embed),
        "self_attn.v_proj": (keys, embed),
        "self_attn.o_proj": (embed, queries),
        "post_attention_layernorm": (embed,),
        "mlp.gate_proj": (ffn, embed),
        "mlp.up_proj": (ffn, embed),
        "mlp.down_proj": (embed, ffn),
    }
    for index in range(config.num_blocks):
        shapes |= {f"model.layers.{index}.{name}.weight": shape for name, shape in block.items()}
    return shapes


def check_shapes(path: Path, config: ModelConfig, found: Mapping[str, tuple[int, ...]]) -> None:
    """InputError unless `found` has exactly the weights that `config` asks for."""
    model = f"a Llama decoder of {config.num_blocks} blocks without biases and experts"
    check_tensors(path, tensor_shapes(config), found, model)


def check_tensors(
    path: Path,
    expected: Mapping[str, tuple[int, ...]],
    found: Mapping[str, tuple[int, ...]],
    model: str,
) -> None:
    """InputError unless `found` has the expected names and shapes, of `model`, and no other."""
    for name in expected:
        if name not in found:
            raise InputError(f"{path}: tensor {name!r} is missing")
        if found[name] != expected[name]:
            raise InputError(
                f"{path}: tensor {name!r} has shape {found[name]}, expected {expected[name]}"
            )
    for name in found:
        if name not in expected:
            raise InputError(f"{path}: tensor {name!r} has no place in {model}")
