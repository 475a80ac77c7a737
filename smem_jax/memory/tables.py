"""Value tables: the rows that memory layers read, whole or only those that are not zero."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from smem_jax.errors import InputError
from smem_jax.memory.config import MemoryConfig
from smem_jax.sharding import axes


class ValueTable(nnx.Module):
    """The rows of one or several memory layers: `values` [num_slots, row_dim].

    Its axes are named 'slots' and 'value', for sharding rules to map to the axes of a mesh.
    """

    def __init__(self, config: MemoryConfig, *, rngs: nnx.Rngs | None):
        """Random rows, or without `rngs` zeros."""
        shape = (config.num_slots, config.row_dim)
        dtype = jnp.dtype(config.values_dtype)
        if rngs is None:
            values = jnp.zeros(shape, dtype)
        else:
            values = (config.row_dim**-0.5 * jax.random.normal(rngs.params(), shape)).astype(dtype)
        self.values = nnx.Param(values, **axes("slots", "value"))

    def places(self, slots: jax.Array) -> jax.Array:
        """Where in `values` the rows of slots are."""
        return slots


class RowPlaces(nnx.Variable):
    """Where the row of each slot is, int32 [num_slots]."""


class CompactTable(nnx.Module):
    """A value table of which only some rows are not zero: those are kept, behind a row of zeros.

    Behind them come zeros up to one of few sizes, so that tables of about as many rows share a
    compilation.

    Args:
      config: sizes of the table that it stands for.
      slots: int32 [num_rows], each once.
      rows: theirs, [num_rows, row_dim].
    """

    def __init__(self, config: MemoryConfig, slots: np.ndarray, rows: np.ndarray):
        if rows.shape != (len(slots), config.row_dim):
            raise InputError(
                f"rows of shape {rows.shape} for {len(slots)} slots of width {config.row_dim}"
            )
        places = np.zeros(config.num_slots, np.int32)
        places[slots] = np.arange(1, len(slots) + 1)
        behind = _rounded_up(len(slots) + 1) - len(slots) - 1
        values = jnp.pad(jnp.asarray(rows, config.values_dtype), ((1, behind), (0, 0)))
        self.values = nnx.Param(values)
        self.row_places = RowPlaces(jnp.asarray(places))

    @classmethod
    def empty(cls, config: MemoryConfig) -> "CompactTable":
        """A table of zeros."""
        return cls(config, np.zeros(0, np.int32), np.zeros((0, config.row_dim), np.float32))

    def places(self, slots: jax.Array) -> jax.Array:
        """Where in `values` the rows of slots are."""
        return self.row_places[...][slots]


def _rounded_up(count: int) -> int:
    """The least number from `count` on that has three binary digits before zeros, at least 64."""
    step = max(64, 1 << max(count.bit_length() - 3, 0))
    return -(-count // step) * step
