"""Row optimizers for a table that lies on several devices."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P

from smem_jax.optim.rows import RowOptimizer, RowState
from smem_jax.table_layout import TableLayout


def split_rows(optimizer: RowOptimizer, layout: TableLayout) -> RowOptimizer:
    """The optimizer for a table split as `layout` says; nothing is communicated.

    Each device updates its columns of those chosen slots that are its own. `slots` is whole on
    every device, `gradient` [top_t, value_dim] is split by columns as the table is. For use under
    `jax.jit` within `jax.set_mesh`, on automatic axes.

    Args:
      optimizer: `row_sgd`, `row_adam`, or any `by_row` whose states per row are scalars or rows of
        the table's width. One that mixes the columns of a row would see a part of them.
      layout: of the table.
    """

    def update_fn(
        values: jax.Array,
        state: RowState,
        slots: jax.Array,
        gradient: jax.Array,
        learning_rate: jax.Array | float,
    ) -> tuple[jax.Array, RowState]:
        def local(values, state, slots, gradient, learning_rate):
            mine = slots - _first_row(layout.slots, values.shape[0])
            is_mine = (mine >= 0) & (mine < values.shape[0])
            mine = jnp.where(is_mine, mine, values.shape[0])
            return optimizer.update(values, state, mine, gradient, learning_rate)

        specs = state_specs(values, state, layout)
        table = P(layout.slots, layout.value)
        return jax.shard_map(
            local,
            in_specs=(table, specs, P(), P(None, layout.value), P()),
            out_specs=(table, specs),
            check_vma=False,
        )(values, state, slots, gradient, jnp.asarray(learning_rate, jnp.float32))

    return RowOptimizer(optimizer.init, update_fn)


def state_specs(values: Any, state: RowState, layout: TableLayout) -> RowState:
    """How the state of a row optimizer lies: like the table, or like its rows."""

    def of_leaf(leaf: Any) -> P:
        if not leaf.ndim or leaf.shape[0] != values.shape[0]:
            return P()
        is_row = leaf.ndim > 1 and leaf.shape[-1] == values.shape[1]
        return (
            P(layout.slots, *(None,) * (leaf.ndim - 2), layout.value) if is_row else P(layout.slots)
        )

    return jax.tree.map(of_leaf, state)


def _first_row(axes: Sequence[str], rows_of_a_part: int) -> jax.Array | int:
    return jax.lax.axis_index(tuple(axes)) * rows_of_a_part if axes else 0
