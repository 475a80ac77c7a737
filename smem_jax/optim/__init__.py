"""Optax transformations for sparse memory finetuning; needs nothing but JAX and optax."""

from smem_jax.optim.rows import RowOptimizer, RowState, by_row, row_adam, row_sgd
from smem_jax.optim.sharded_rows import split_rows
from smem_jax.optim.top_slots import MaskByTopSlotsState, mask_by_top_slots

__all__ = [
    "MaskByTopSlotsState",
    "RowOptimizer",
    "RowState",
    "by_row",
    "mask_by_top_slots",
    "row_adam",
    "row_sgd",
    "split_rows",
]
