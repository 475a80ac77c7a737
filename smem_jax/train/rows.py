"""SGD and Adam on chosen rows of a table: work and memory traffic of the rows alone."""

from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp

from smem_jax.errors import InputError

Optimizer = Literal["sgd", "adam"]

_DECAY_MEAN, _DECAY_SQUARE, _EPSILON = 0.9, 0.99, 1e-8


class RowState(NamedTuple):
    """Adam's moments float32 [num_rows, value_dim] and updates so far int32 [num_rows] of each row.

    The moments are lazy: a row that is not selected keeps them as they are, and the bias correction
    counts a row's own updates. For SGD the moments have no rows.
    """

    mean: jax.Array
    square: jax.Array
    updates: jax.Array


def init(num_rows: int, value_dim: int, optimizer: Optimizer) -> RowState:
    """The state before the first update."""
    if optimizer not in get_args(Optimizer):
        raise InputError(f"optimizer={optimizer!r}; one of {get_args(Optimizer)} is right")
    moments = num_rows if optimizer == "adam" else 0

    def zeros() -> jax.Array:
        return jnp.zeros((moments, value_dim), jnp.float32)

    return RowState(zeros(), zeros(), jnp.zeros(num_rows, jnp.int32))


def update(
    values: jax.Array,
    state: RowState,
    rows: jax.Array,
    gradient: jax.Array,
    learning_rate: jax.Array | float,
    optimizer: Optimizer,
) -> tuple[jax.Array, RowState]:
    """`values` and `state` after one step on `rows`.

    Args:
      values: float32 [num_rows, value_dim]; donate it, and nothing of its size is copied.
      state: of these rows.
      rows: int32 [top_t], distinct; entries of num_rows or more stand for nothing.
      gradient: float32 [top_t, value_dim].
      learning_rate: of every element (Adam), or factor of the gradient (SGD).
      optimizer: 'sgd' or 'adam' (arXiv 1412.6980).
    """
    updates = state.updates.at[rows].add(1, mode="drop")
    if optimizer == "sgd":
        values = values.at[rows].add(-learning_rate * gradient, mode="drop")
        return values, state._replace(updates=updates)

    def old(array: jax.Array) -> jax.Array:
        return array.at[rows].get(mode="fill", fill_value=0)

    mean = _DECAY_MEAN * old(state.mean) + (1 - _DECAY_MEAN) * gradient
    square = _DECAY_SQUARE * old(state.square) + (1 - _DECAY_SQUARE) * gradient**2
    count = jnp.maximum(old(updates), 1)[:, None].astype(jnp.float32)
    corrected = mean / (1 - _DECAY_MEAN**count)
    scale = jnp.sqrt(square / (1 - _DECAY_SQUARE**count)) + _EPSILON
    values = values.at[rows].add(-learning_rate * corrected / scale, mode="drop")
    return values, RowState(
        state.mean.at[rows].set(mean, mode="drop"),
        state.square.at[rows].set(square, mode="drop"),
        updates,
    )
