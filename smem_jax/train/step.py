"""One step of sparse memory finetuning, at a cost that does not know the size of the table.

The reads of the batch are known before anything is differentiated, so selection comes first. The
only differentiated array is a zero `delta` [top_t, value_dim] added to the selected rows; the
gradient stops at the memory layer, below which everything is a constant.
"""

import functools
from typing import Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx

from smem_jax import slots as selection
from smem_jax.kernels.lookup import lookup_with_delta
from smem_jax.models.retrofit import memory_layer
from smem_jax.models.transformer import Transformer
from smem_jax.train import rows

# Of numpy where rows are picked from all examples, of JAX inside of a step.
_Array = TypeVar("_Array")


class Settings(NamedTuple):
    """What is fixed for a run; `block` is the number of the block with the memory layer."""

    block: int
    top_t: int
    mode: selection.Mode
    optimizer: rows.Optimizer
    drift_weight: float
    num_parts: int  # into which a batch is cut, to hold the activations of one at a time


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
    scored: _Array  # bool [batch, scored]


class DriftSample(NamedTuple, Generic[_Array]):
    """Reads of background tokens, on which the memory should stay silent.

    The weights are 0 where a slot is not in the working set, and divided by the median length of
    the residual stream, so that a penalty on the sums of rows has no unit.
    """

    rows: _Array  # int32 [num_tokens, reads]
    weights: _Array  # float32 [num_tokens, reads]


class State(NamedTuple):
    """What training changes: `values` float32 [num_rows, value_dim] and the optimizer's state."""

    values: jax.Array
    optimizer: rows.RowState


class Report(NamedTuple):
    """Scalars of a step: loss in nats per scored token, relative drift, rows selected."""

    loss: jax.Array
    drift: jax.Array
    selected: jax.Array


@functools.partial(jax.jit, static_argnames=("graphdef", "settings"), donate_argnames="state")
def train_step(
    graphdef: nnx.GraphDef,
    frozen: nnx.State,
    state: State,
    document_frequency: jax.Array,
    num_documents: jax.Array,
    batch: Batch[jax.Array],
    drift_sample: DriftSample[jax.Array],
    settings: Settings,
    learning_rate: jax.Array | float,
    key: jax.Array,
) -> tuple[State, Report]:
    """Selects slots for the batch and updates them.

    Args:
      graphdef, frozen: the model, whose value table is not looked at.
      state: donated.
      document_frequency: int32 [num_rows], of the working set.
      num_documents: background documents in all.
      batch, drift_sample: as above.
      settings: static; `num_parts` divides the number of sequences.
      learning_rate: of this step.
      key: of the 'random' selection mode.
    """
    model = nnx.merge(graphdef, frozen)
    chosen = selection.select_read_slots(
        batch.rows,
        document_frequency,
        num_documents,
        settings.top_t,
        mask=batch.mask,
        mode=settings.mode,
        key=key if settings.mode == "random" else None,
    )

    delta = jnp.zeros((settings.top_t, state.values.shape[1]), jnp.float32)
    num_scored = jnp.maximum(batch.scored.sum(), 1)

    @jax.value_and_grad
    def loss_of_part(delta: jax.Array, part: Batch[jax.Array]) -> jax.Array:
        total = _total_nll(model, settings.block, state.values, delta, chosen.slots, part)
        return total / num_scored

    @jax.value_and_grad
    def drift_of_sample(delta: jax.Array) -> jax.Array:
        return _drift(state.values, delta, chosen.slots, drift_sample)

    def add_part(sums, part):
        return jax.tree.map(jnp.add, sums, loss_of_part(delta, part)), None

    size = batch.mask.shape[0] // settings.num_parts
    parts = jax.tree.map(lambda x: x.reshape(settings.num_parts, size, *x.shape[1:]), batch)
    (loss, gradient), _ = jax.lax.scan(add_part, (jnp.zeros(()), delta), parts)
    drift, drift_gradient = drift_of_sample(delta)
    gradient += settings.drift_weight * drift_gradient
    values, optimizer = rows.update(
        state.values,
        state.optimizer,
        chosen.slots,
        gradient,
        learning_rate,
        settings.optimizer,
    )
    return State(values, optimizer), Report(loss, drift, chosen.is_real.sum())


def _total_nll(
    model: Transformer,
    block: int,
    values: jax.Array,
    delta: jax.Array,
    chosen: jax.Array,
    batch: Batch[jax.Array],
) -> jax.Array:
    """Negative log-likelihood of all targets together, in nats."""
    layer = memory_layer(model, block)
    looked_up = lookup_with_delta(values, delta, chosen, batch.rows, batch.weights)
    x = batch.residual + layer.write_out(looked_up, batch.hidden)
    x = model.run_blocks(x, start=block + 1)
    x = jnp.take_along_axis(x, batch.positions[..., None], axis=1)  # [batch, scored, embed_dim]
    logits = model.logits(x).astype(jnp.float32)
    target = jnp.take_along_axis(logits, batch.targets[..., None], axis=-1)[..., 0]
    nll = jax.nn.logsumexp(logits, axis=-1) - target
    return jnp.sum(nll * batch.scored)


def _drift(
    values: jax.Array, delta: jax.Array, chosen: jax.Array, sample: DriftSample[jax.Array]
) -> jax.Array:
    """Mean over background tokens of |sum of rows read|^2, in units of the residual stream's.

    A token whose residual stream is ten times the usual length, such as the first of a text, counts
    like any other: divided by its own length instead, the penalty lets the memory grow there, and
    text likelihood falls several times as far.
    """
    looked_up = lookup_with_delta(values, delta, chosen, sample.rows, sample.weights)
    return jnp.mean(jnp.sum(looked_up**2, axis=-1))
