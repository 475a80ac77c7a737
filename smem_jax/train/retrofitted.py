"""The base model with its memory layer, as a configuration describes it."""

import functools
import json
from typing import get_args

from ml_collections import ConfigDict

from smem_jax import slots
from smem_jax.errors import InputError
from smem_jax.memory.config import MemoryConfig
from smem_jax.memory.tables import CompactTable
from smem_jax.models.pretrained import Pretrained
from smem_jax.models.retrofit import Placement, retrofit
from smem_jax.models.transformer import Transformer
from smem_jax.optim import RowOptimizer, row_adam, row_sgd
from smem_jax.optim.rows import Missed

_CHOICES = {
    "memory.placement": get_args(Placement),
    "facts.loss_on": ("answer", "all"),
    "train.selection": get_args(slots.Mode),
    "train.optimizer": ("sgd", "adam"),
    "train.missed_steps": get_args(Missed),
}
_AT_LEAST_ONE = (
    "background.seq_len",
    "background.sample_tokens",
    "facts.seq_len",
    "train.steps",
    "train.batch_size",
    "train.drift_tokens",
    "train.num_lengths",
    "train.num_parts",
    "train.checkpoint_every",
    "evaluate.max_new_tokens",
)


def check(config: ConfigDict) -> None:
    """Raises InputError for a value that cannot be right, without reading any file."""
    if not config.model:
        raise InputError("model='' must name a .gguf file, a directory or package:NAME/FILE")
    for name, choices in _CHOICES.items():
        if _field(config, name) not in choices:
            raise InputError(f"{name}={_field(config, name)!r} must be one of {', '.join(choices)}")
    for name in _AT_LEAST_ONE:
        if _field(config, name) < 1:
            raise InputError(f"{name}={_field(config, name)} must be at least 1")
    for name in ("train.learning_rate", "train.final_learning_rate", "memory.score_scale"):
        if not _field(config, name) > 0:
            raise InputError(f"{name}={_field(config, name)} must be above 0")
    if config.evaluate.every < 0:
        raise InputError(f"evaluate.every={config.evaluate.every} must be at least 0")
    if not config.train.drift_weight >= 0:
        raise InputError(f"train.drift_weight={config.train.drift_weight} must be at least 0")
    if config.train.batch_size % config.train.num_parts:
        raise InputError(
            f"train.num_parts={config.train.num_parts} must divide "
            f"train.batch_size={config.train.batch_size}"
        )
    if not config.train.weight_decay >= 0:
        raise InputError(f"train.weight_decay={config.train.weight_decay} must be at least 0")
    row_optimizer(config.train)
    memory_config(config, width=config.memory.key_dim)
    slots.check_top_t(config.train.top_t, config.memory.num_slots)
    slots.check_limit("train.max_document_frequency", config.train.max_document_frequency)


def row_optimizer(c: ConfigDict) -> RowOptimizer:
    """The optimizer of the selected rows, by the section `train` or `learner`."""
    if c.optimizer == "sgd":
        return _row_sgd(c.momentum, c.missed_steps)
    return _row_adam(c.b1, c.b2, weight_decay=c.weight_decay, missed=c.missed_steps)


# One object for the same arguments, so that runs of a process share the compiled step.
_row_sgd, _row_adam = functools.cache(row_sgd), functools.cache(row_adam)


def memory_config(config: ConfigDict, width: int) -> MemoryConfig:
    """Sizes of the memory layer of a model with `embed_dim=width`."""
    c = config.memory
    return MemoryConfig(
        input_dim=width,
        output_dim=width,
        num_slots=c.num_slots,
        num_heads=c.num_heads,
        top_k=c.top_k,
        key_dim=c.key_dim,
        gate=c.gate,
        output_projection=False,
        normalize_queries=True,
        normalize_keys=True,
        score_scale=c.score_scale,
        values_dtype=c.values_dtype,
    )


def build(base: Pretrained, config: ConfigDict) -> Transformer:
    """The base model with an unfitted memory layer of zero values.

    Raises InputError for a block that the model does not have.
    """
    model = Transformer.from_tensors(base.config, base.tensors)
    add_memory(model, config)
    return model


def add_memory(model: Transformer, config: ConfigDict, table: CompactTable | None = None) -> None:
    """Adds an unfitted memory layer, of zero values or those of a `table`, in place.

    Raises InputError for a block that the model does not have.
    """
    width = model.config.embed_dim
    if config.memory.key_dim > width:
        raise InputError(
            f"memory.key_dim={config.memory.key_dim} exceeds the model's width {width}"
        )
    retrofit(
        model,
        [config.memory.block],
        memory_config(config, width),
        placement=config.memory.placement,
        table=table,
    )


def description(config: ConfigDict) -> str:
    """What a background file has to agree in with a configuration: the memory section, as JSON."""
    return json.dumps(config.memory.to_dict(), sort_keys=True)


def _field(config: ConfigDict, name: str):
    section, field = name.split(".")
    return config[section][field]
