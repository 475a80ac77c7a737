"""The transformer with memory layers that a job's configuration describes."""

from typing import get_args

from flax import nnx
from ml_collections import ConfigDict

from smem_jax.errors import InputError
from smem_jax.memory.config import MemoryConfig
from smem_jax.memory.layer import MemoryLayer
from smem_jax.models.config import ModelConfig
from smem_jax.models.retrofit import Placement, attach, check_blocks
from smem_jax.models.transformer import Transformer


def build(config: ConfigDict, rngs: nnx.Rngs) -> Transformer:
    """A model with random parameters; the values of a memory layer, too, are random.

    Raises InputError for sizes that do not fit together.
    """
    sizes = model_config(config)
    model = Transformer(sizes, rngs=rngs)
    table = None
    for block in config.memory.blocks:
        layer = MemoryLayer(memory_config(config), table=table, rngs=rngs)
        if config.memory.shared_values:
            table = layer.table
        attach(model.blocks[block], layer, config.memory.placement)
    return model


def model_config(config: ConfigDict) -> ModelConfig:
    """Sizes of the transformer."""
    c = config.model
    check_blocks(config.memory.blocks, c.num_blocks)
    if config.memory.placement not in get_args(Placement):
        raise InputError(
            f"memory.placement={config.memory.placement!r} must be one of "
            f"{', '.join(get_args(Placement))}"
        )
    try:
        return ModelConfig(
            vocab_size=c.vocab_size,
            num_blocks=c.num_blocks,
            embed_dim=c.embed_dim,
            num_heads=c.num_heads,
            num_kv_heads=c.num_kv_heads,
            head_dim=c.head_dim,
            ffn_dim=c.ffn_dim,
            rope_base=c.rope_base,
            tied_embeddings=c.tied_embeddings,
            max_positions=config.data.seq_len,
            params_dtype=c.params_dtype,
            compute_dtype=c.compute_dtype,
        )
    except ValueError as error:
        raise InputError(f"model.{error}") from error


def memory_config(config: ConfigDict) -> MemoryConfig:
    """Sizes of every memory layer."""
    c = config.memory
    width = config.model.embed_dim
    return MemoryConfig(
        input_dim=width,
        output_dim=width,
        num_slots=c.num_slots,
        num_heads=c.num_heads,
        top_k=c.top_k,
        key_dim=c.key_dim,
        value_dim=c.value_dim,
        gate=c.gate,
        output_projection=True,
        normalize_queries=c.normalize_queries,
        normalize_keys=c.normalize_keys,
        score_scale=c.score_scale,
        values_dtype=c.values_dtype,
    )


def params_and_values(model: Transformer) -> tuple[nnx.State, nnx.State]:
    """The parameters but for the value tables, and these."""
    _, values, params = nnx.split(  # type: ignore[misc]
        model, lambda path, _: tuple(path[-2:]) == ("table", "values"), ...
    )
    return params, values
