"""Import of a decoder with memory layers that the published code has trained.

'Memory Layers at Scale' (arXiv 2412.09764) released its code, facebookresearch/memory on top of
Meta Lingua, and no language model. Known from the code are the names in Lingua's decoder and its
interleaved rotary positions; the memory layer, its parameters and its options
(`productkey_args`); that layers may share one value table; and that a consolidated checkpoint is
`params.json`, whose section `model` has the sizes, beside `consolidated.pth`, a PyTorch file with
the weights under 'model'. These have to be given as safetensors, since reading a PyTorch file
needs PyTorch::

    weights = torch.load("consolidated.pth", weights_only=True)["model"]
    weights = {name: weight.clone() for name, weight in weights.items()}  # no two share memory
    safetensors.torch.save_file(weights, "model.safetensors")

Assumed, and not known, is that a memory layer has the name of the feed-forward network that it
replaces. `NAMES` says this and all other names; another table can be given in its place.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from smem_jax import json_file
from smem_jax.errors import InputError
from smem_jax.memory.config import MemoryConfig
from smem_jax.memory.layer import MemoryLayer
from smem_jax.memory.tables import ValueTable
from smem_jax.models import rope
from smem_jax.models.config import ModelConfig
from smem_jax.models.pretrained import huggingface, safetensors_file
from smem_jax.models.pretrained.checks import build_config, check_tensors, tensor_shapes
from smem_jax.models.retrofit import attach
from smem_jax.models.transformer import Transformer

# The published name of each weight of a Hugging Face Llama decoder, and of a memory layer.
NAMES = {
    "model.embed_tokens": "tok_embeddings",
    "model.norm": "norm",
    "lm_head": "output",
    "model.layers.{}.input_layernorm": "layers.{}.attention_norm",
    "model.layers.{}.self_attn.q_proj": "layers.{}.attention.wq",
    "model.layers.{}.self_attn.k_proj": "layers.{}.attention.wk",
    "model.layers.{}.self_attn.v_proj": "layers.{}.attention.wv",
    "model.layers.{}.self_attn.o_proj": "layers.{}.attention.wo",
    "model.layers.{}.post_attention_layernorm": "layers.{}.ffn_norm",
    "model.layers.{}.mlp.gate_proj": "layers.{}.feed_forward.w1",
    "model.layers.{}.mlp.up_proj": "layers.{}.feed_forward.w3",
    "model.layers.{}.mlp.down_proj": "layers.{}.feed_forward.w2",
    "model.layers.{}.memory": "layers.{}.feed_forward",
}
_LINEARS = ("query_proj.query_mlps.0", "value_proj", "swilu_projection")
_VALUES = "values.weight"
_OF_A_LAYER = {"keys", _VALUES, *(f"{n}.{part}" for n in _LINEARS for part in ("weight", "bias"))}


def load(directory: Path, names: Mapping[str, str] = NAMES) -> Transformer:
    """The model in a directory with `params.json` and `model.safetensors`, in float32.

    Which blocks have a memory layer, the weights show.

    Args:
      names: as `NAMES`, with `{}` for the number of a block.

    Raises InputError for a file that is missing or damaged, for an option that is not supported,
    for a weight that is missing, without a place, or of another shape or data type, and for copies
    of a shared value table that differ.
    """
    params, path = directory / "params.json", directory / "model.safetensors"
    fields = _section(params, json_file.read(params), "model")
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    tensors = safetensors_file.read(path)
    config = _config(params, fields, tensors, names)
    if config.tied_embeddings:
        tensors.pop(_published(names, "lm_head.weight"), None)
    layers = _memory_layers(tensors, names, config.num_blocks)
    model = _decoder(path, config, tensors, names, list(layers))
    if layers:
        args = _section(params, fields, "productkey_args")
        sizes = _memory_config(params, args, config.embed_dim)
        try:
            _attach(model, layers, sizes, is_shared=args.get("mem_share_values", True))
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
    return model


def _decoder(
    path: Path,
    config: ModelConfig,
    tensors: Mapping[str, np.ndarray],
    names: Mapping[str, str],
    memory_blocks: list[int],
) -> Transformer:
    """All but the memory layers, whose blocks have no feed-forward network."""
    without = tuple(f"model.layers.{block}.mlp." for block in memory_blocks)
    shapes = {n: s for n, s in tensor_shapes(config).items() if not n.startswith(without)}
    check_tensors(
        path,
        {_published(names, name): shape for name, shape in shapes.items()},
        {name: tensor.shape for name, tensor in tensors.items()},
        f"a decoder with memory in the blocks {memory_blocks}",
    )
    weights = {name: tensors[_published(names, name)] for name in shapes}
    for name, weight in weights.items():
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            weights[name] = rope.to_rotate_half(weight, config.head_dim)
    return Transformer.from_tensors(config, weights, without_ffn=memory_blocks)


def _published(names: Mapping[str, str], name: str) -> str:
    """The published name of a weight by its Hugging Face name."""
    number = next((part for part in name.split(".") if part.isdecimal()), "")
    layer = name.removesuffix(".weight").replace(f".{number}.", ".{}.")
    return f"{names[layer].format(number)}.weight"


def _section(path: Path, fields: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = fields.get(name)
    if not isinstance(section, dict):
        raise InputError(f"{path}: {name}={section!r} should be an object")
    return section


def _config(
    path: Path,
    fields: Mapping[str, Any],
    tensors: Mapping[str, np.ndarray],
    names: Mapping[str, str],
) -> ModelConfig:
    """Sizes of the decoder; those that the section does not tell, by the weights."""
    if fields.get("sliding_window"):
        raise InputError(f"{path}: sliding_window={fields['sliding_window']!r} is not supported")

    def rows(name: str) -> int:
        weight = tensors.get(_published(names, name))
        # One that has to be there, and is not, is missed later.
        return len(weight) if weight is not None and weight.ndim else 1

    def size(name: str, default: int | None = None) -> int:
        return huggingface.number(path, fields, name, int, default)

    dim, num_blocks = size("dim"), size("n_layers")
    num_heads = size("n_heads", dim // max(size("head_dim", dim), 1))
    gates = (f"model.layers.{block}.mlp.gate_proj.weight" for block in range(num_blocks))
    return build_config(
        path,
        vocab_size=rows("model.embed_tokens.weight"),
        num_blocks=num_blocks,
        embed_dim=dim,
        num_heads=num_heads,
        num_kv_heads=size("n_kv_heads", num_heads),
        head_dim=size("head_dim", dim // max(num_heads, 1)),
        ffn_dim=max(map(rows, gates), default=1),
        rope_base=huggingface.number(path, fields, "rope_theta", float, 1e4),
        norm_epsilon=huggingface.number(path, fields, "norm_eps", float, 1e-5),
        tied_embeddings=bool(fields.get("weight_tying", False)),
        max_positions=size("max_seqlen", 1024),
    )


def _memory_config(path: Path, args: Mapping[str, Any], width: int) -> MemoryConfig:
    for name in ("mem_gated", "peer_variant"):
        if args.get(name):
            raise InputError(f"{path}: productkey_args.{name}=true is not supported")

    def size(name: str, default: int) -> int:
        return huggingface.number(path, args, name, int, default)

    value_dim, gate = size("mem_v_dim", -1), bool(args.get("swilu_projection", True))
    try:
        return MemoryConfig(
            width,
            width,
            num_slots=size("mem_n_keys", 1024) ** 2,
            num_heads=size("mem_heads", 4),
            top_k=size("mem_knn", 32),
            key_dim=size("mem_k_dim", 512),
            value_dim=value_dim if value_dim > 0 else None,
            gate=gate,
            output_projection=gate or value_dim > 0,
        )
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _memory_layers(
    tensors: dict[str, np.ndarray], names: Mapping[str, str], num_blocks: int
) -> dict[int, dict[str, np.ndarray]]:
    """The weights of each block's memory layer by their names in it, taken out of `tensors`."""
    layers = {}
    for block in range(num_blocks):
        prefix = f"{names['model.layers.{}.memory'].format(block)}."
        if f"{prefix}keys" in tensors:
            own = [name for name in tensors if name.startswith(prefix)]
            layers[block] = {name.removeprefix(prefix): tensors.pop(name) for name in own}
    return layers


def _attach(
    model: Transformer,
    layers: Mapping[int, dict[str, np.ndarray]],
    config: MemoryConfig,
    is_shared: bool,
) -> None:
    """Puts the memory layers into their blocks, the first one's table into all where it is shared.

    Later layers have it as a copy then, or not at all: the code registers it with each of them
    where it trains on several devices, and else with the first alone.
    """
    first: tuple[ValueTable, np.ndarray] | None = None
    for block, arrays in layers.items():
        unknown = sorted(arrays.keys() - _OF_A_LAYER)
        if unknown:
            raise InputError(f"block {block}: {unknown[0]!r} has no place in a memory layer")
        if first is not None and not np.array_equal(arrays.get(_VALUES, first[1]), first[1]):
            raise InputError(
                f"block {block}: {_VALUES!r} is not the table of the first memory layer, which "
                "mem_share_values=true says that it shares"
            )
        try:
            layer = MemoryLayer.from_published(arrays, config, first and first[0])
        except InputError as error:
            raise InputError(f"block {block}: {error}") from error
        if is_shared and first is None:
            assert isinstance(layer.table, ValueTable)
            first = layer.table, arrays[_VALUES]
        attach(model.blocks[block], layer, "instead")
