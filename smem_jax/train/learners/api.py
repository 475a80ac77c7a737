"""What a learner is to the stream, and how one is made from a configuration."""

import math
from typing import Any, Protocol, get_args

from flax import nnx
from ml_collections import ConfigDict

from smem_jax import slots
from smem_jax.errors import InputError
from smem_jax.memory.layer import MemoryLayer
from smem_jax.memory.relevance import Relevance
from smem_jax.models.lora import add_lora
from smem_jax.models.retrofit import memory_layer
from smem_jax.models.transformer import Transformer
from smem_jax.optim.rows import Missed
from smem_jax.train import retrofitted
from smem_jax.train.background import Background
from smem_jax.train.learners import gradient
from smem_jax.train.learners.batch import Batch
from smem_jax.train.learners.sparse import SparseLearner
from smem_jax.train.step import Settings

METHODS = ("sparse", *gradient.FILTERS)
_CHOICES = {
    "learner.method": METHODS,
    "learner.optimizer": ("sgd", "adam"),
    "learner.selection": get_args(slots.Mode),
    "learner.missed_steps": get_args(Missed),
}
_AT_LEAST = {
    "lessons.passages": 1,
    "learner.steps": 1,
    "learner.num_parts": 1,
    "learner.top_t": 1,
    "learner.rank": 1,
    "learner.replay": 0,
    "learner.replay_weight": 0,
    "learner.drift_tokens": 1,
    "learner.drift_readers": 0,
    "learner.drift_weight": 0,
    "learner.weight_decay": 0,
    "learner.relevance_threshold": 0,
    "learner.max_skipped": 1,
}


class Learner(Protocol):
    """Something that learns a batch at a time.

    `state` is a pytree of arrays, all that a step changes: what a checkpoint has to keep. Steps may
    donate it, so a model that was handed out before a step must not be used after it.
    """

    state: Any

    def begin(self, lesson: Batch, number: int, group: int | None = None) -> None:
        """A lesson comes, with all of its passages; its first step has that number.

        `group` is that of the first lesson of the same document; None for a document of its own.
        """
        ...

    def step(self, batch: Batch, number: int) -> dict[str, float]:
        """Learns a batch; `number` counts the steps of a stream, from 0. Returns scalars to log."""
        ...

    def model(self) -> Transformer:
        """The model as learned so far."""
        ...


def needs_memory(config: ConfigDict) -> bool:
    """Whether the configured method trains a memory layer."""
    return config.learner.method in ("sparse", "memory")


def make(
    config: ConfigDict, model: Transformer, block: int, background: Background | None
) -> Learner:
    """The configured learner on `model`.

    Args:
      config: that `check` and `check_memory` let pass.
      block: number of the block whose memory layer the method 'sparse' trains.
      background: what ordinary text reads there; that method needs it.
    """
    c = config.learner
    if c.method == "sparse":
        assert background is not None  # the stream measures it for this method
        top_t, m = c.top_t, memory_layer(model, block).config
        if c.selection == "read":  # room for all reads of a batch
            longest = max(config.lessons.lengths)
            rows = config.lessons.passages // c.steps + c.replay
            top_t = min(rows * longest * m.num_heads * m.top_k, m.num_slots)
        settings = Settings(
            block,
            top_t,
            c.selection,
            retrofitted.row_optimizer(c),
            c.drift_weight,
            c.num_parts,
            c.max_document_frequency or None,
        )
        return SparseLearner(
            model,
            background,
            settings,
            c.learning_rate,
            c.drift_tokens,
            c.drift_readers,
            c.select_once,
            c.new_rows_only,
            _relevance(c),
            config.seed,
        )
    if c.method == "lora":
        add_lora(model, c.rank, c.alpha, rngs=nnx.Rngs(config.seed))
    optimizer = gradient.optimizer(c.optimizer, c.momentum, c.b1, c.b2, c.weight_decay)
    return gradient.GradientLearner(model, c.method, optimizer, c.learning_rate, c.num_parts)


def _relevance(learner: ConfigDict) -> Relevance | None:
    if not learner.relevance_threshold:
        return None
    return Relevance(learner.relevance_threshold, learner.relevance_window)


def check(config: ConfigDict) -> None:
    """Raises InputError for a learner that cannot be right, without reading any file."""
    c = config.learner
    retrofitted.check_fields(config, _CHOICES, _AT_LEAST)
    # The optimizers of other methods have the same ranges, and a weight decay for 'sgd', too.
    decay = c.weight_decay if c.method == "sparse" else 0.0
    retrofitted.row_optimizer(ConfigDict({**c.to_dict(), "weight_decay": decay}))
    lengths = config.lessons.lengths
    if not lengths or min(lengths) < 1:
        raise InputError(f"lessons.lengths={lengths} must be one number or more, each at least 1")
    if config.lessons.passages % c.steps:
        raise InputError(
            f"learner.steps={c.steps} must divide lessons.passages={config.lessons.passages}"
        )
    rows = config.lessons.passages // c.steps + c.replay
    if rows % c.num_parts:
        raise InputError(
            f"learner.num_parts={c.num_parts} must divide the {rows} rows of a step "
            "(lessons.passages / learner.steps + learner.replay)"
        )
    if c.method == "lora" and not c.alpha > 0:
        raise InputError(f"learner.alpha={c.alpha} must be above 0")
    slots.check_limit("learner.max_document_frequency", c.max_document_frequency)
    if c.selection == "read" and c.select_once:
        raise InputError(
            "learner.selection='read' needs learner.select_once=False: a lesson reads more slots "
            "than a step trains"
        )
    if c.relevance_threshold and c.drift_weight:
        raise InputError(
            f"learner.drift_weight={c.drift_weight} must be 0 with a relevance gate: it would "
            "penalise what the gate does not let through"
        )
    for name in ("relevance_threshold", "new_rows_only"):
        if c[name] and not c.select_once:
            raise InputError(
                f"learner.{name}={c[name]} needs learner.select_once=True, so that a lesson has "
                "rows of its own"
            )
    _relevance(c)
    if not 0 < c.learning_rate < math.inf:
        raise InputError(f"learner.learning_rate={c.learning_rate} must be above 0 and finite")


def check_memory(config: ConfigDict, layer: MemoryLayer) -> None:
    """Raises InputError for a memory layer that the method 'sparse' cannot be used with."""
    c = config.learner
    if c.method != "sparse":
        return
    if c.selection != "read":
        slots.check_top_t(c.top_t, layer.config.num_slots)
    if c.relevance_threshold and layer.table.values[...].any():
        raise InputError(
            "learner.relevance_threshold must be 0 for a memory that says something before it is "
            "taught: a closed gate would silence that, too"
        )
