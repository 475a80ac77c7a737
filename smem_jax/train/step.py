"""One step of sparse memory finetuning, at a cost that does not know the size of the table.

The reads of the batch are known before anything is differentiated, so selection comes first. The
only differentiated array is a zero `delta` [top_t, value_dim] added to the selected rows; the
gradient stops at the memory layer, below which everything is a constant.
"""

import functools
from typing import Any, Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx

from smem_jax import scratch, slots
from smem_jax.kernels.lookup import lookup_with_delta
from smem_jax.models.retrofit import memory_layer
from smem_jax.models.transformer import Transformer
from smem_jax.optim import RowOptimizer, RowState
from smem_jax.train.skipped import all_finite

# Of numpy where rows are picked from all examples, of JAX inside of a step.
_Array = TypeVar("_Array")


class Settings(NamedTuple):
    """What is fixed for a run; `block` is the number of the block with the memory layer."""

    block: int
    top_t: int
    mode: slots.Mode
    optimizer: RowOptimizer
    drift_weight: float
    num_parts: int  # into which a batch is cut, to hold the activations of one at a time
    max_document_frequency: int | None = None  # of a slot that may be selected


class Batch(NamedTuple, Generic[_Array]):
    """Sequences as they arrive at the memory layer, and what they should predict.

    `rows` numbers the rows of the working set.
    """

    residual: _Array  # float32 [batch, seq, embed_dim]
    hidden: _Array  # float32 [batch, seq, embed_dim], read by a gate
    rows: _Array  # int32 [batch, seq, reads]
    weights: _Array  # float32 [batch, seq, reads]
    mask: _Array  # bool [batch, seq]: no padding
    positions: _Array  # int32 [batch, scored]: whose predictions bear the loss
    targets: _Array  # int32 [batch, scored]
    scored: _Array  # bool [batch, scored], or float32: how much a target weighs in the loss


class Ordinary(NamedTuple, Generic[_Array]):
    """What ordinary text reads, for the score of a slot."""

    document_frequency: _Array  # int32 [num_rows], of the working set
    num_documents: _Array | int
    total: _Array  # scalar, `smem_jax.scores.background_total` of the whole table


class DriftSample(NamedTuple, Generic[_Array]):
    """Reads of background tokens, on which the memory should say what it said before.

    The weights are 0 where a slot is not in the working set, and divided by the median length of
    the residual stream, so that a penalty on the sums of rows has no unit. `before` is what these
    sums were; None for a memory that said nothing, such as one fresh from a retrofit. With
    `readers` the penalty is on those tokens alone that read the selected rows: of a random sample
    few do where rows are rare.
    """

    rows: _Array  # int32 [num_tokens, reads]
    weights: _Array  # float32 [num_tokens, reads]
    before: _Array | None = None  # float32 [num_tokens, value_dim]
    readers: _Array | None = None  # int32 [num_rows, any]: tokens that read it; num_tokens: none


class State(NamedTuple):
    """What a step changes."""

    values: jax.Array  # [num_rows, value_dim]
    optimizer: RowState
    changed: jax.Array  # bool [num_rows]: selected by some step
    scratch: jax.Array  # int32 [num_rows], of `smem_jax.scratch`


def initial_state(values: jax.Array, optimizer: RowOptimizer) -> State:
    """The state before the first step, for a table or a part of it [num_rows, value_dim]."""
    num_rows = values.shape[0]
    return State(values, optimizer.init(values), jnp.zeros(num_rows, bool), scratch.new(num_rows))


def without_table(model: Transformer, block: int) -> tuple[nnx.GraphDef, nnx.State]:
    """The model with an empty value table, which the step does not look at."""
    graphdef, state = nnx.split(model)
    blocks: Any = state["blocks"]
    table = blocks[block]["memory"]["table"]
    # A new variable, since those of the state are the model's own.
    table["values"] = table["values"].replace(table["values"][:0])
    return graphdef, state


class Report(NamedTuple):
    """Scalars of a step: loss in nats per scored token, relative drift, rows selected.

    The loss is NaN where the step was not applied, since it or the gradient is not finite.
    """

    loss: jax.Array
    drift: jax.Array
    selected: jax.Array


@functools.partial(jax.jit, static_argnames=("graphdef", "settings"), donate_argnames="state")
def train_step(
    graphdef: nnx.GraphDef,
    frozen: nnx.State,
    state: State,
    ordinary: Ordinary[jax.Array],
    batch: Batch[jax.Array],
    drift_sample: DriftSample[jax.Array],
    settings: Settings,
    learning_rate: jax.Array | float,
    key: jax.Array,
    selected: jax.Array | None = None,
) -> tuple[State, Report]:
    """Selects slots for the batch and updates them.

    Args:
      graphdef, frozen: the model, whose value table is not looked at.
      state: donated.
      ordinary, batch, drift_sample: as above.
      settings: static; `num_parts` divides the number of sequences.
      learning_rate: of this step.
      key: of the 'random' selection mode.
      selected: slots that were selected before, for several steps, int32 [top_t] as in a
        `Selection`; None to select those of this batch.
    """
    model = nnx.merge(graphdef, frozen)
    if selected is None:
        chosen, places, kept_scratch = scratch.select(
            state.scratch, batch.rows, mask=batch.mask, **_by(settings, ordinary, key)
        )
    else:
        chosen = slots.Selection(selected, selected < len(state.values))
        places, kept_scratch = slots.places(selected, batch.rows), state.scratch
    drift_sample = _of_readers(drift_sample, chosen.slots)
    sample_places = slots.places(chosen.slots, drift_sample.rows)
    delta = jnp.zeros((settings.top_t, state.values.shape[1]), jnp.float32)
    num_scored = jnp.maximum(batch.scored.sum(), 1)

    @jax.value_and_grad
    def loss_of_part(delta: jax.Array, part: Batch[jax.Array], places: jax.Array) -> jax.Array:
        looked_up = lookup_with_delta(state.values, delta, places, part.rows, part.weights)
        return _total_nll(model, settings.block, looked_up, part) / num_scored

    @jax.value_and_grad
    def drift_of_sample(delta: jax.Array) -> jax.Array:
        sample = drift_sample
        sums = lookup_with_delta(state.values, delta, sample_places, sample.rows, sample.weights)
        return _drift(sums if sample.before is None else sums - sample.before)

    def add_part(sums, part):
        return jax.tree.map(jnp.add, sums, loss_of_part(delta, *part)), None

    size = batch.mask.shape[0] // settings.num_parts
    parts = jax.tree.map(
        lambda x: x.reshape(settings.num_parts, size, *x.shape[1:]), (batch, places)
    )
    (loss, gradient), _ = jax.lax.scan(add_part, (jnp.zeros(()), delta), parts)
    drift, drift_gradient = drift_of_sample(delta)
    gradient += settings.drift_weight * drift_gradient
    is_finite = all_finite((loss, gradient))
    moved = jnp.where(is_finite, chosen.slots, len(state.values))  # none, where it is not
    values, optimizer = settings.optimizer.update(
        state.values, state.optimizer, moved, gradient, learning_rate
    )
    changed = state.changed.at[moved].set(True, mode="drop")
    loss = jnp.where(is_finite, loss, jnp.nan)
    report = Report(loss, drift, chosen.is_real.sum() * is_finite)
    return State(values, optimizer, changed, kept_scratch), report


def select(
    rows: jax.Array,
    mask: jax.Array,
    ordinary: Ordinary[jax.Array],
    settings: Settings,
    key: jax.Array,
) -> slots.Selection:
    """The slots that a step on such reads would select.

    `rows` as in a `Batch`; `mask` bool too, or for each read apart: [batch, seq, reads].
    """
    return slots.select_read_slots(rows, mask=mask, **_by(settings, ordinary, key))


def _by(settings: Settings, ordinary: Ordinary[jax.Array], key: jax.Array) -> dict[str, Any]:
    """What a selection goes by, apart from the reads."""
    return {
        "document_frequency": ordinary.document_frequency,
        "num_documents": ordinary.num_documents,
        "top_t": settings.top_t,
        "mode": settings.mode,
        "key": key if settings.mode == "random" else None,
        "background_total": ordinary.total if settings.mode == "kl" else None,
        "max_document_frequency": settings.max_document_frequency,
    }


def _total_nll(
    model: Transformer, block: int, looked_up: jax.Array, batch: Batch[jax.Array]
) -> jax.Array:
    """Negative log-likelihood of all targets together, in nats, given the sums of rows."""
    layer = memory_layer(model, block)
    x = batch.residual + layer.write_out(looked_up, batch.hidden)
    x = model.run_blocks(x, start=block + 1)
    x = jnp.take_along_axis(x, batch.positions[..., None], axis=1)  # [batch, scored, embed_dim]
    logits = model.logits(x).astype(jnp.float32)
    target = jnp.take_along_axis(logits, batch.targets[..., None], axis=-1)[..., 0]
    nll = jax.nn.logsumexp(logits, axis=-1) - target
    return jnp.sum(nll * batch.scored)


def _of_readers(sample: DriftSample[jax.Array], slots: jax.Array) -> DriftSample[jax.Array]:
    """The tokens that read the selected rows, row by row; the sample itself where it names none."""
    if sample.readers is None:
        return sample
    tokens = sample.readers.at[slots].get(mode="fill", fill_value=len(sample.rows)).ravel()

    def of_tokens(array: jax.Array) -> jax.Array:
        return array.at[tokens].get(mode="fill", fill_value=0)

    before = None if sample.before is None else of_tokens(sample.before)
    return DriftSample(of_tokens(sample.rows), of_tokens(sample.weights), before)


def _drift(change: jax.Array) -> jax.Array:
    """Mean over background tokens of |change of the sum of rows read|^2, in residual streams.

    A token whose residual stream is ten times the usual length, such as the first of a text, counts
    like any other: divided by its own length instead, the penalty lets the memory grow there, and
    text likelihood falls several times as far.
    """
    return jnp.mean(jnp.sum(change**2, axis=-1))
