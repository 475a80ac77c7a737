"""The sparse learner: the top-t slots of each batch are trained (arXiv 2510.15103).

The step is that of `smem_jax.train.step`, with the frozen prefix inside, since a passage of a
stream comes but once.
"""

import functools
import warnings
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from smem_jax.kernels.lookup import lookup
from smem_jax.memory.layer import Reads
from smem_jax.memory.relevance import NO_GROUP, Relevance, RelevanceGate
from smem_jax.models.retrofit import memory_layer
from smem_jax.models.transformer import Transformer, default_positions
from smem_jax.scores import background_total
from smem_jax.train import step as steps
from smem_jax.train.background import Background
from smem_jax.train.learners.batch import Batch
from smem_jax.train.step import DriftSample, Ordinary, Settings

_TOKENS_AT_A_TIME = 8192


class State(NamedTuple):
    """What a step changes: the rows, and which document each was trained for last.

    `groups` is int32 [num_slots], the number of the first step of the document's first lesson (a
    fact is a document of one lesson) or `NO_GROUP`; None where slots are not selected for whole
    lessons.
    """

    rows: steps.State
    groups: jax.Array | None


class SparseLearner:
    """Trains chosen rows of the value table of one block, and nothing else.

    Args:
      model: with a memory layer in the block of the settings.
      background: what ordinary text reads there.
      drift_tokens: background tokens a step, for the penalty on drift.
      drift_readers: where above 0, rather so many tokens for each selected slot, which read it.
      select_once: select slots from a whole lesson, for all of its steps; else, from each batch.
      new_rows_only: select no row that was trained for another document; needs `select_once`.
      relevance: gate the rows by the documents that they were trained for, while learning and
        after; needs `select_once`. None for no gate.
      seed: of the background tokens and of random selection.

    Attributes:
      selected: the slots of the lesson that was begun, int32 [top_t] as in a `Selection`; None
        where slots are not selected for whole lessons.
    """

    def __init__(
        self,
        model: Transformer,
        background: Background,
        settings: Settings,
        learning_rate: float,
        drift_tokens: int,
        drift_readers: int,
        select_once: bool,
        new_rows_only: bool,
        relevance: Relevance | None,
        seed: int,
    ):
        table = memory_layer(model, settings.block).table.values[...]
        rows = steps.initial_state(jnp.array(table, jnp.float32), settings.optimizer)
        groups = jnp.full(len(table), NO_GROUP, jnp.int32) if select_once else None
        self.state = State(rows, groups)
        self._dtype = table.dtype
        self._graphdef, self._frozen = steps.without_table(model, settings.block)
        self._settings = settings
        self._learning_rate = learning_rate
        self._ordinary = jax.tree.map(jnp.asarray, _ordinary(background))
        self._drift = _drift_sample(background, table)
        if drift_readers:
            found = readers(background.indices, len(table), drift_readers, seed)
            self._drift = jax.tree.map(jnp.asarray, self._drift._replace(readers=found))
        self._drift_tokens = drift_tokens
        self._seed = seed
        self._new_rows_only = new_rows_only
        self._has_warned = False
        self._relevance = relevance
        self.selected: jax.Array | None = None
        self._group = NO_GROUP

    def begin(self, lesson: Batch, number: int, group: int | None = None) -> None:
        """Selects the slots for all steps of a lesson, where that is asked for."""
        groups = self.state.groups
        if groups is None:
            return
        self._group = number if group is None else group
        self.selected = _select(
            self._graphdef,
            self._frozen,
            self._ordinary,
            lesson,
            groups if self._new_rows_only else None,
            self._group,
            self._settings,
            jax.random.fold_in(jax.random.key(self._seed), number),
        )
        self._warn_of_full_table()

    def _warn_of_full_table(self) -> None:
        if not self._new_rows_only or self._has_warned:
            return
        assert self.selected is not None
        top_t = self._settings.top_t
        left = int((self.selected < len(self.state.rows.values)).sum())
        if left < top_t:
            self._has_warned = True
            warnings.warn(
                f"learner.new_rows_only leaves {left} of learner.top_t={top_t} rows for a lesson; "
                "a larger memory.num_slots would hold more lessons",
                stacklevel=2,
            )

    def step(self, batch: Batch, number: int) -> dict[str, float]:
        """One step; returns its loss in nats per scored token, the drift and the rows trained."""
        drift = self._drift
        if drift.readers is None:
            random = np.random.default_rng((self._seed, number))
            sample = random.integers(len(drift.rows), size=self._drift_tokens)
            drift = jax.tree.map(lambda array: array[sample], drift)
        self.state, report = _step(
            self._graphdef,
            self._frozen,
            self.state,
            self._ordinary,
            batch,
            drift,
            self._settings,
            self._relevance,
            self._learning_rate,
            jax.random.fold_in(jax.random.key(self._seed), number),
            self.selected,
            self._group,
        )
        return {
            "loss": float(report.loss),
            "drift": float(report.drift),
            "rows": int(report.selected),
        }

    def model(self) -> Transformer:
        """The model with the rows as learned so far."""
        model = nnx.merge(self._graphdef, self._frozen)
        layer = memory_layer(model, self._settings.block)
        table: Any = layer.table
        table.values = table.values.replace(self.state.rows.values.astype(self._dtype))
        if self._relevance is not None:
            assert self.state.groups is not None  # from the first state on
            layer.relevance = nnx.data(RelevanceGate(self.state.groups, self._relevance))
        return model


def _drift_sample(background: Background, table: jax.Array) -> DriftSample[np.ndarray]:
    """What background tokens read, and what they got of the untaught `table`."""
    rows, weights = background.indices, background.weights / background.residual_norm
    if not table.any():
        return DriftSample(rows, weights)
    sums = []
    for start in range(0, len(rows), _TOKENS_AT_A_TIME):
        part = slice(start, start + _TOKENS_AT_A_TIME)
        found = lookup(table, jnp.asarray(rows[part]), jnp.asarray(weights[part]))
        sums.append(np.asarray(found))
    return DriftSample(rows, weights, np.concatenate(sums))


def readers(indices: np.ndarray, num_slots: int, count: int, seed: int) -> np.ndarray:
    """Tokens of up to `count` random reads of each slot: int32 [num_slots, count], else num_tokens.

    A token of which two heads read a slot may stand there twice.

    Args:
      indices: slots that each token reads, int32 [num_tokens, reads].
    """
    num_tokens, reads = indices.shape
    shuffled = np.random.default_rng(seed).permutation(num_tokens)
    slots = indices[shuffled].ravel()
    order = np.argsort(slots, kind="stable")
    tokens, slots = shuffled[order // reads], slots[order]
    place = np.arange(len(slots)) - np.searchsorted(slots, slots)
    found = np.full((num_slots, count), num_tokens, np.int32)
    kept = place < count
    found[slots[kept], place[kept]] = tokens[kept]
    return found


def _ordinary(background: Background) -> Ordinary[np.ndarray]:
    frequency = background.document_frequency
    return Ordinary(frequency, background.num_documents, np.asarray(background_total(frequency)))


@functools.partial(
    jax.jit, static_argnames=("graphdef", "settings", "relevance"), donate_argnames="state"
)
def _step(
    graphdef: nnx.GraphDef,
    frozen: nnx.State,
    state: State,
    ordinary: Ordinary[jax.Array],
    batch: Batch,
    drift: DriftSample[jax.Array],
    settings: Settings,
    relevance: Relevance | None,
    learning_rate: jax.Array | float,
    key: jax.Array,
    selected: jax.Array | None,
    group: jax.Array | int,
) -> tuple[State, steps.Report]:
    residual, hidden, (indices, weights) = _reads(
        nnx.merge(graphdef, frozen), settings.block, batch
    )
    groups = state.groups
    if groups is not None:
        before = groups.at[selected].get(mode="fill", fill_value=NO_GROUP)
        groups = groups.at[selected].set(group, mode="drop")
    if relevance is not None:
        assert groups is not None
        weights = RelevanceGate(groups, relevance)(indices, weights)
    arrived = steps.Batch(
        residual,
        hidden,
        indices,
        weights,
        batch.is_lesson,
        batch.positions,
        batch.targets,
        batch.weights,
    )
    rows, report = steps.train_step(
        graphdef,
        frozen,
        state.rows,
        ordinary,
        arrived,
        drift,
        settings,
        learning_rate,
        key,
        selected,
    )
    if groups is not None:  # the rows of a step that is not applied stay whose they were
        kept = jnp.where(jnp.isfinite(report.loss), group, before)
        groups = groups.at[selected].set(kept, mode="drop")
    return State(rows, groups), report


@functools.partial(jax.jit, static_argnames=("graphdef", "settings"))
def _select(
    graphdef: nnx.GraphDef,
    frozen: nnx.State,
    ordinary: Ordinary[jax.Array],
    batch: Batch,
    groups: jax.Array | None,
    group: jax.Array | int,
    settings: Settings,
    key: jax.Array,
) -> jax.Array:
    """The slots for a lesson; where `groups` are given, of rows without one or of its `group`."""
    _, _, reads = _reads(nnx.merge(graphdef, frozen), settings.block, batch)
    counts = batch.is_lesson
    if groups is not None:
        theirs = groups[reads.indices]
        counts = counts[..., None] & ((theirs == NO_GROUP) | (theirs == group))
    return steps.select(reads.indices, counts, ordinary, settings, key).slots


def _reads(model: Transformer, block: int, batch: Batch) -> tuple[jax.Array, jax.Array, Reads]:
    """The residual stream and hidden state at the memory layer, and what it reads."""
    x = model.run_blocks(model.embed(batch.tokens), stop=block)
    residual, hidden, _ = model.blocks[block].before_memory(x, default_positions(x))
    return residual, hidden, memory_layer(model, block).read(hidden)
