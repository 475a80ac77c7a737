"""Teaching one lesson at a time, in memory that grows with what is taught and not with the table.

What `smem_jax.train.learners.sparse` does with all rows and their moments, this does with those
that a lesson reads, a few thousand: the same slots, the same steps, the same rows. It is for few
lessons, such as the facts that someone types; each costs some host time that a stream does not
spend.
"""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from smem_jax import patch as patches
from smem_jax.data.lessons import Lesson
from smem_jax.errors import InputError
from smem_jax.evaluate.batching import power_of_two
from smem_jax.memory.layer import Reads
from smem_jax.memory.relevance import NO_GROUP, Relevance, RelevanceGate
from smem_jax.memory.tables import CompactTable
from smem_jax.models.pretrained import Tokenizer
from smem_jax.models.retrofit import memory_layer
from smem_jax.models.transformer import Transformer, default_positions
from smem_jax.patch.make import Learned
from smem_jax.scores import background_total
from smem_jax.train import retrofitted, step
from smem_jax.train.background import Background
from smem_jax.train.learners.batch import Encoder
from smem_jax.train.working_set import WorkingSet

_ENOUGH = 0.1  # nats per token, of a passage before a step on it
_LEAST_ROWS = 4096  # that a lesson's working set is padded to


class Teacher:
    """Adds lessons to a model.

    Args:
      model: with a memory layer in `block`, whose rows are not looked at.
      background: what ordinary text reads there.
      learner: the section of `smem_jax.stream_settings`, with a relevance gate and
        `new_rows_only`.
      lengths: padded lengths of a passage, ascending.
      known: rows of patches that are on the model, left as they are.
    """

    def __init__(
        self,
        model: Transformer,
        tokenizer: Tokenizer,
        block: int,
        background: Background,
        learner: ConfigDict,
        lengths: tuple[int, ...],
        known: patches.Combined | None = None,
    ):
        c = memory_layer(model, block).config
        self.relevance = check(learner, known)
        self._tokenizer, self._lengths, self._steps = tokenizer, lengths, learner.steps
        self._settings = step.Settings(
            block,
            learner.top_t,
            learner.selection,
            retrofitted.row_optimizer(learner),
            0.0,
            learner.num_parts,
            learner.max_document_frequency or None,
        )
        self._learning_rate = learner.learning_rate
        self._background = background
        self._graphdef, self._frozen = step.without_table(model, block)
        self._config = c
        self._groups = np.full(c.num_slots, NO_GROUP, np.int32)
        self._places = np.full(c.num_slots, -1, np.int32)  # of each slot's row below
        self._slots = np.zeros(0, np.int32)
        self._rows = np.zeros((0, c.row_dim), np.float32)
        self._num_groups = 0
        if known is not None:
            self._add(known.slots, known.rows, known.groups)
            self._num_groups = len(known.lessons)
        self._first = len(self._slots)
        self._starts = [0]

    def teach(self, lesson: Lesson, most_passes: int = 1) -> float:
        """Teaches a lesson; returns the mean loss of its last pass, nats per token of its targets.

        Args:
          most_passes: how often to go over the passages at most; a stream does it once. It ends as
            soon as no step of a pass has a loss of 0.1 before it.

        Raises InputError for a lesson with a passage that is too long, and where no row is left
        that it could train.
        """
        encoder = Encoder(self._tokenizer, [lesson], self._lengths, False)
        if encoder.too_long():
            raise InputError(
                f"lesson {lesson.id!r} is too long: {max(self._lengths)} tokens at most are right"
            )
        [whole] = encoder.batches(0, 1)
        arrived = [
            np.asarray(array)
            for array in _arriving(self._graphdef, self._frozen, self._settings.block, whole.tokens)
        ]
        working = WorkingSet([arrived[2][whole.is_lesson]])
        own_slots = working.slots
        room = max(_LEAST_ROWS, power_of_two(len(own_slots)))

        def padded(array: np.ndarray, fill: int) -> np.ndarray:
            widths = [(0, room - len(array)), *[(0, 0)] * (array.ndim - 1)]
            return np.pad(array, widths, constant_values=fill)

        is_new = self._places[own_slots] < 0
        values = np.where(is_new[:, None], 0, self._rows_of(own_slots)).astype(np.float32)
        state = step.initial_state(jnp.asarray(padded(values, 0)), self._settings.optimizer)
        frequency = self._background.document_frequency
        ordinary = step.Ordinary(
            jnp.asarray(padded(frequency[own_slots], 0)),
            self._background.num_documents,
            background_total(frequency),
        )
        residual, hidden, indices, weights = arrived
        rows = working.rows(indices)
        mask = whole.is_lesson[..., None] & is_new[rows]
        settings = self._settings._replace(top_t=min(self._settings.top_t, room))
        key = jax.random.key(0)  # of the 'random' mode alone, which is not done here
        selected = step.select(jnp.asarray(rows), jnp.asarray(mask), ordinary, settings, key).slots
        chosen = np.asarray(selected)
        chosen = chosen[chosen < len(own_slots)]
        if not len(chosen):
            raise InputError(
                f"lesson {lesson.id!r} finds no row that is free; a larger memory.num_slots would "
                "hold more"
            )
        groups = self._groups[own_slots].copy()
        groups[chosen] = self._num_groups
        gated = RelevanceGate(jnp.asarray(padded(groups, NO_GROUP)), self.relevance)(
            jnp.asarray(rows), jnp.asarray(weights)
        )
        nothing = step.DriftSample(
            np.zeros((1, rows.shape[-1]), np.int32), np.zeros((1, rows.shape[-1]), np.float32)
        )
        losses: list[float] = []
        batches = list(enumerate(encoder.batches(0, self._steps)))
        for part, batch in itertools.chain.from_iterable(itertools.repeat(batches, most_passes)):
            # As soon as all passages of a pass were likely before their own step, that is enough.
            if part == 0 and losses and max(losses[-self._steps :]) < _ENOUGH:
                break
            take = slice(part, None, self._steps)
            state, report = step.train_step(
                self._graphdef,
                self._frozen,
                state,
                ordinary,
                step.Batch(
                    residual[take],
                    hidden[take],
                    rows[take],
                    gated[take],
                    batch.is_lesson,
                    batch.positions,
                    batch.targets,
                    batch.weights,
                ),
                nothing,
                settings,
                self._learning_rate,
                key,
                selected,
            )
            losses.append(float(report.loss))
            if not math.isfinite(losses[-1]):
                raise InputError(
                    f"lesson {lesson.id!r} is not learned: its loss or its gradient is not finite"
                )
        group = np.full(len(chosen), self._num_groups, np.int32)
        self._add(own_slots[chosen], np.asarray(state.values)[chosen], group)
        self._starts.append(len(self._slots) - self._first)
        self._num_groups += 1
        return float(np.mean(losses[-self._steps :]))

    def learned(self) -> Learned:
        """What the lessons so far have added to the table."""
        own = slice(self._first, None)
        return Learned(self._slots[own], np.asarray(self._starts, np.int32), self._rows[own])

    def model(self) -> Transformer:
        """The model with all rows as they are now, those that were known among them."""
        model = nnx.merge(self._graphdef, self._frozen)
        layer = memory_layer(model, self._settings.block)
        layer.table = CompactTable(self._config, self._slots, self._rows)
        layer.relevance = nnx.data(RelevanceGate(jnp.asarray(self._groups), self.relevance))
        return model

    def _rows_of(self, slots: np.ndarray) -> np.ndarray:
        """Rows [n, row_dim] of slots; of one that has none, any."""
        if not len(self._rows):
            return np.zeros((len(slots), self._config.row_dim), np.float32)
        return self._rows[np.maximum(self._places[slots], 0)]

    def _add(self, slots: np.ndarray, rows: np.ndarray, groups: np.ndarray) -> None:
        self._places[slots] = np.arange(len(self._slots), len(self._slots) + len(slots))
        self._groups[slots] = groups
        self._slots = np.concatenate([self._slots, slots.astype(np.int32)])
        self._rows = np.concatenate([self._rows, rows.astype(np.float32)])


def check(learner: ConfigDict, known: patches.Combined | None = None) -> Relevance:
    """The relevance gate of what would be taught.

    Raises InputError for a learner that a `Teacher` is not, and for patches with another gate.
    """
    for name, right in (
        ("method", "sparse"),
        ("select_once", True),
        ("new_rows_only", True),
        ("drift_weight", 0),
        ("replay", 0),
    ):
        if learner[name] != right:
            raise InputError(f"learner.{name}={learner[name]!r} must be {right!r} to teach facts")
    if learner.selection == "random":
        raise InputError("learner.selection='random' is for streams; 'tf_idf' teaches facts")
    if not learner.relevance_threshold:
        raise InputError(
            "learner.relevance_threshold=0 is for streams; facts need a gate, such as 24 reads"
        )
    gate = Relevance(learner.relevance_threshold, learner.relevance_window)
    if known is not None and known.relevance not in (None, gate):
        raise InputError(
            f"the patches have the relevance gate {known.relevance}; lessons on top of them would "
            f"have {gate}"
        )
    return gate


@functools.partial(jax.jit, static_argnames=("graphdef", "block"))
def _arriving(
    graphdef: nnx.GraphDef, frozen: nnx.State, block: int, tokens: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Residual stream, hidden state, and what they read, of tokens [rows, seq]."""
    model = nnx.merge(graphdef, frozen)
    x = model.run_blocks(model.embed(tokens), stop=block)
    residual, hidden, _ = model.blocks[block].before_memory(x, default_positions(x))
    reads: Reads = memory_layer(model, block).read(hidden)
    return residual, hidden, reads.indices, reads.weights
