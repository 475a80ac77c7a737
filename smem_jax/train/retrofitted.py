"""The base model with its memory layer, as a configuration describes it."""

import functools
import json
from collections.abc import Collection, Mapping
from typing import get_args

import numpy as np
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
_AT_LEAST = {
    "background.seq_len": 1,
    "background.sample_tokens": 1,
    "facts.seq_len": 1,
    "train.steps": 1,
    "train.batch_size": 1,
    "train.drift_tokens": 1,
    "train.drift_weight": 0,
    "train.num_lengths": 1,
    "train.num_parts": 1,
    "train.checkpoint_every": 1,
    "train.weight_decay": 0,
    "evaluate.every": 0,
    "evaluate.max_new_tokens": 1,
}


def check(config: ConfigDict) -> None:
    """Raises InputError for a value that cannot be right, without reading any file."""
    if not config.model:
        raise InputError("model='' must name a .gguf file, a directory or package:NAME/FILE")
    check_fields(config, _CHOICES, _AT_LEAST)
    for name in ("train.learning_rate", "train.final_learning_rate"):
        if not _field(config, name) > 0:
            raise InputError(f"{name}={_field(config, name)} must be above 0")
    if config.train.batch_size % config.train.num_parts:
        raise InputError(
            f"train.num_parts={config.train.num_parts} must divide "
            f"train.batch_size={config.train.batch_size}"
        )
    row_optimizer(config.train)
    memory_config(config, width=config.memory.key_dim)
    slots.check_top_t(config.train.top_t, config.memory.num_slots)
    slots.check_limit("train.max_document_frequency", config.train.max_document_frequency)


def check_fields(
    config: ConfigDict, choices: Mapping[str, Collection[str]], least: Mapping[str, int]
) -> None:
    """Raises InputError for a field 'section.name' that is no choice, or less than its least."""
    for name, right in choices.items():
        if _field(config, name) not in right:
            raise InputError(f"{name}={_field(config, name)!r} must be one of {', '.join(right)}")
    for name, at_least in least.items():
        if not _field(config, name) >= at_least:
            raise InputError(f"{name}={_field(config, name)} must be at least {at_least}")


def row_optimizer(c: ConfigDict) -> RowOptimizer:
    """The optimizer of the selected rows, by the section `train`, `learner` or `sparse`.

    Raises InputError for a weight decay with 'sgd', of which rows have none.
    """
    if c.optimizer == "sgd":
        if c.weight_decay:
            raise InputError(f"weight_decay={c.weight_decay} must be 0 with optimizer='sgd'")
        return _row_sgd(c.momentum, c.missed_steps)
    return _row_adam(c.b1, c.b2, weight_decay=c.weight_decay, missed=c.missed_steps)


# One object for the same arguments, so that runs of a process share the compiled step.
_row_sgd, _row_adam = functools.cache(row_sgd), functools.cache(row_adam)


def memory_config(config: ConfigDict, width: int) -> MemoryConfig:
    """Sizes of the memory layer of a model with `embed_dim=width`.

    Raises InputError for a gate: its weights would be random, and a patch does not carry them.
    """
    c = config.memory
    if c.gate:
        raise InputError("memory.gate=True is for models pretrained with it; here False is right")
    return MemoryConfig(
        input_dim=width,
        output_dim=width,
        num_slots=c.num_slots,
        num_heads=c.num_heads,
        top_k=c.top_k,
        key_dim=c.key_dim,
        gate=False,
        output_projection=False,
        normalize_queries=True,
        normalize_keys=True,
        score_scale=c.score_scale,
        values_dtype=c.values_dtype,
    )


def build(base: Pretrained, config: ConfigDict) -> Transformer:
    """The base model with an unfitted memory layer of zero values.

    Raises InputError for a block that the model does not have, and as `check_lengths` does.
    """
    check_lengths(config, base.config.max_positions)
    model = Transformer.from_tensors(base.config, base.tensors)
    add_memory(model, config)
    return model


def check_lengths(config: ConfigDict, max_positions: int) -> None:
    """Raises InputError where background or lessons may be longer than the model's positions."""
    for name in ("background.seq_len", "facts.seq_len", "lessons.lengths"):
        if name.partition(".")[0] not in config:
            continue  # facts are of `smem teach`, lessons of `smem stream`
        if np.max(_field(config, name)) > max_positions:
            raise InputError(
                f"{name}={_field(config, name)} must be at most {max_positions}, the positions of "
                "the model"
            )


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
