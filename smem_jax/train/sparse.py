"""Sparse memory finetuning of documents that stream by, on any number of devices.

After 'Continual Learning via Sparse Memory Finetuning' (arXiv 2510.15103): batches of ordinary text
are counted for the document frequency first; then each step selects the top-t slots of its batch
and moves those rows. Everything else is frozen. The reads of all devices are gathered, so that each
selects the same slots; this grows with the batch, and nothing that is exchanged grows with the
number of slots.
"""

from typing import Any, NamedTuple, get_args

import jax
import jax.numpy as jnp
from flax import nnx
from ml_collections import ConfigDict

from smem_jax import slot_use, slots
from smem_jax.data.packing import Rows
from smem_jax.errors import InputError
from smem_jax.kernels.lookup import lookup_with_delta
from smem_jax.memory.layer import Reads
from smem_jax.models.retrofit import memory_layer
from smem_jax.models.transformer import Transformer
from smem_jax.optim import RowState, split_rows
from smem_jax.optim.rows import Missed
from smem_jax.scores import background_total
from smem_jax.sharding import axes, constrain, of_all, table_layout
from smem_jax.train import job_model
from smem_jax.train.next_token import total_nll
from smem_jax.train.retrofitted import row_optimizer
from smem_jax.train.skipped import all_finite

Metrics = dict[str, jax.Array]


class SparseState(NamedTuple):
    """What a step changes, and what it needs.

    Attributes:
      params: everything but the value table, frozen.
      values: the table [num_slots, value_dim].
      rows: the state of the row optimizer.
      changed: bool [num_slots], selected by some step.
      document_frequency: int32 [num_slots], background batches that read each slot.
      num_documents: int32 scalar, background batches counted.
      step: int32 scalar, steps taken.
    """

    params: nnx.State
    values: nnx.State
    rows: RowState
    changed: nnx.Variable
    document_frequency: nnx.Variable
    num_documents: jax.Array
    step: jax.Array


class SparseFinetuning:
    """The functions of a sparse finetuning job; they are pure, and jitted by their caller.

    Raises InputError for a configuration without exactly one memory block.
    """

    def __init__(self, config: ConfigDict):
        if len(config.memory.blocks) != 1:
            raise InputError(
                f"memory.blocks={tuple(config.memory.blocks)} with objective='sparse': exactly one "
                "block is right"
            )
        c = config.sparse
        for name, choices in _CHOICES.items():
            if c[name] not in choices:
                raise InputError(f"sparse.{name}={c[name]!r} must be one of {', '.join(choices)}")
        slots.check_top_t(c.top_t, config.memory.num_slots)
        slots.check_limit("sparse.max_document_frequency", c.max_document_frequency)
        self._config = config
        self._block = config.memory.blocks[0]
        self._optimizer = row_optimizer(c)
        self._graphdef = nnx.graphdef(nnx.eval_shape(lambda: self._model(jax.random.key(0))))

    def _model(self, key: jax.Array) -> Transformer:
        return job_model.build(self._config, nnx.Rngs(params=key))

    def initial_state(self, key: jax.Array) -> SparseState:
        """Random parameters, and nothing counted or changed."""
        return self.state_of(*job_model.params_and_values(self._model(key)))

    def state_of(self, params: nnx.State, values: nnx.State) -> SparseState:
        """The state before the first step, of given parameters."""
        num_slots = self._config.memory.num_slots
        return SparseState(
            params,
            values,
            self._rows_state(values),
            slot_use.nothing_seen(num_slots),
            nnx.Param(jnp.zeros(num_slots, jnp.int32), **axes("slots")),
            jnp.zeros((), jnp.int32),
            jnp.zeros((), jnp.int32),
        )

    def _rows_state(self, values: nnx.State) -> RowState:
        """The state of the row optimizer, with axes named as those of the table."""
        (table,) = jax.tree.leaves(values)

        def named(leaf: jax.Array) -> Any:
            if not leaf.ndim or leaf.shape[0] != table.shape[0]:
                return leaf
            is_row = leaf.ndim > 1 and leaf.shape[-1] == table.shape[1]
            names = ("slots", *(None,) * (leaf.ndim - 2), "value") if is_row else ("slots",)
            return nnx.Param(leaf, **axes(*names))

        return jax.tree.map(named, self._optimizer.init(table))

    def count(self, state: SparseState, rows: Rows[jax.Array]) -> tuple[SparseState, Metrics]:
        """Counts packed rows of ordinary text [batch, seq] as one document of the frequency."""
        model = nnx.merge(self._graphdef, state.params, state.values)
        _, _, reads = self._reads(model, rows)
        counted = slots.masked_reads(of_all(reads.indices), *self._counted(rows))
        found, counts = slots.distinct(counted, self._num_slots)
        frequency = state.document_frequency[...].at[found].add(counts > 0, mode="drop")
        return state._replace(
            document_frequency=state.document_frequency.replace(frequency),
            num_documents=state.num_documents + 1,
        ), {}

    def step(self, state: SparseState, rows: Rows[jax.Array]) -> tuple[SparseState, Metrics]:
        """One step on packed rows [batch, seq]; metrics are float32 scalars."""
        model = nnx.merge(self._graphdef, state.params, state.values)
        layout = table_layout()
        residual, hidden, reads = self._reads(model, rows)
        indices, (num_slots, mask) = of_all(reads.indices), self._counted(rows)
        chosen = self._select(state, indices, mask)
        places = slots.places(chosen.slots, reads.indices)
        (values,) = jax.tree.leaves(state.values)

        @jax.value_and_grad
        def loss_of(delta: jax.Array) -> jax.Array:
            summed = lookup_with_delta(values, delta, places, *reads, layout=layout)
            written = memory_layer(model, self._block).write_out(summed, hidden)
            x = model.run_blocks(
                residual + written.astype(residual.dtype),
                start=self._block + 1,
                positions=rows.positions,
                segments=rows.segments,
                remat=self._config.model.remat,
            )
            total, count = total_nll(model.logits(x), rows)
            return total / jnp.maximum(count, 1)

        c = self._config.sparse
        delta = jnp.zeros((c.top_t, values.shape[1]), jnp.float32)
        loss, gradient = loss_of(constrain(delta, None, "value"))
        optimizer = split_rows(self._optimizer, layout) if layout else self._optimizer
        is_finite = all_finite((loss, gradient))
        slots_moved = jnp.where(is_finite, chosen.slots, self._num_slots)  # none, where it is not
        moved, rows_state = optimizer.update(
            values, _arrays(state.rows), slots_moved, gradient, c.learning_rate
        )
        changed = state.changed[...]
        is_old = changed.at[chosen.slots].get(mode="fill", fill_value=True)
        metrics = {
            "loss": jnp.where(is_finite, loss, jnp.nan),
            "gradient_norm": jnp.sqrt(jnp.sum(gradient**2)),
            "rows": chosen.is_real.sum(),
            "slot_entropy": slot_use.entropy(indices, num_slots, mask),
            "new_slots": jnp.sum(~is_old) / jnp.maximum(chosen.is_real.sum(), 1),
        }
        return state._replace(
            values=jax.tree.map(lambda _: moved, state.values),
            rows=jax.tree.unflatten(jax.tree.structure(state.rows), jax.tree.leaves(rows_state)),
            changed=state.changed.replace(changed.at[slots_moved].set(True, mode="drop")),
            step=state.step + 1,
        ), metrics

    def _select(self, state: SparseState, indices: jax.Array, mask: jax.Array) -> slots.Selection:
        c, frequency = self._config.sparse, state.document_frequency[...]
        key = jax.random.fold_in(jax.random.key(self._config.seed), state.step)
        return slots.select_read_slots(
            indices,
            frequency,
            state.num_documents,
            c.top_t,
            mask=mask,
            mode=c.selection,
            key=key if c.selection == "random" else None,
            background_total=background_total(frequency) if c.selection == "kl" else None,
            max_document_frequency=c.max_document_frequency or None,
        )

    def _reads(
        self, model: Transformer, rows: Rows[jax.Array]
    ) -> tuple[jax.Array, jax.Array, Reads]:
        """The residual stream and hidden state at the memory layer, and what it reads."""
        positions, segments = rows.positions, rows.segments
        x = model.run_blocks(
            model.embed(rows.tokens), stop=self._block, positions=positions, segments=segments
        )
        block = model.block(self._block)
        residual, hidden, _ = block.before_memory(x, positions, segments=segments)
        reads = memory_layer(model, self._block).read(hidden)
        return residual, hidden, Reads(*(constrain(a, "batch", None, None) for a in reads))

    @property
    def _num_slots(self) -> int:
        return self._config.memory.num_slots

    def _counted(self, rows: Rows[jax.Array]) -> tuple[int, jax.Array]:
        """Number of slots, and which tokens are no padding: bool [batch, seq], on every device."""
        return self._num_slots, of_all(rows.segments > 0)


_CHOICES = {
    "selection": ("tf_idf", "tf", "kl", "random"),
    "optimizer": ("sgd", "adam"),
    "missed_steps": get_args(Missed),
}


def _arrays(rows: RowState) -> RowState:
    """The state without the names of axes."""
    is_variable = lambda leaf: isinstance(leaf, nnx.Variable)  # noqa: E731
    return jax.tree.map(
        lambda leaf: leaf[...] if is_variable(leaf) else leaf, rows, is_leaf=is_variable
    )
