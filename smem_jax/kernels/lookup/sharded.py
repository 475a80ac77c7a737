"""The lookup of a value table that lies on several devices, each with a share of the batch.

The three operations of a backend, each within `jax.shard_map`, with the communication written out.
For a table split by columns over the axes `value` and by rows over `slots`, a device

1. gathers the reads of all devices along both (numbers and weights: 8 bytes a read),
2. sums what it has of the rows: its columns of its rows,
3. adds up over `slots` and exchanges over `value`, after which it has its own tokens whole.

All of it grows with the reads and the width of a row, and none with the number of slots. Splitting
by rows costs more: each device goes over the reads of all, and the sums that are added up are as
many times larger as there are parts. So split by columns first, as the published code does, and by
rows where columns would get narrower than the hardware's vector.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P

from smem_jax.kernels.lookup import backends
from smem_jax.kernels.lookup.backends import Implementation, Operations
from smem_jax.table_layout import TableLayout


@functools.cache
def operations(
    layout: TableLayout, num_slots: int, implementation: Implementation | None
) -> Operations:
    """The operations for a table of `num_slots` rows, on global arrays of the current mesh.

    Arrays with another number of rows, such as the `delta` of a few selected ones, are split by
    columns only.
    """

    def bind(operation: Callable) -> Callable:
        return functools.partial(operation, layout, num_slots, implementation)

    return Operations(bind(_weighted_sum), bind(_weights_gradient), bind(_rows_gradient))


class _Axes:
    """The mesh axes of a table, apart by whether they split the batch as well."""

    def __init__(self, layout: TableLayout, rows_are_split: bool):
        slots = layout.slots if rows_are_split else ()
        self.batch, self.value, self.slots = layout.batch, layout.value, slots
        self.value_exchanged = tuple(a for a in layout.value if a in layout.batch)
        self.value_kept = tuple(a for a in layout.value if a not in layout.batch)
        self.slots_exchanged = tuple(a for a in slots if a in layout.batch)
        self.slots_kept = tuple(a for a in slots if a not in layout.batch)

    @property
    def exchanged(self) -> tuple[str, ...]:
        """Rows first: a gathered array is [slots parts, value parts, tokens of a device]."""
        return self.slots_exchanged + self.value_exchanged

    @property
    def table(self) -> P:
        return P(self.slots, self.value)

    @property
    def tokens(self) -> P:
        """Of [tokens, reads]."""
        return P(self.batch)

    @property
    def sums(self) -> P:
        """Of [tokens, value_dim]: columns split by an axis without batch stay split."""
        return P(self.batch, self.value_kept)


def _weighted_sum(layout, num_slots, implementation, values, indices, weights):
    axes = _Axes(layout, values.shape[0] == num_slots)

    def local(values, indices, weights):
        indices, weights = (_gather(a, axes.exchanged) for a in (indices, weights))
        mine, rows = _own(axes.slots, indices, values.shape[0])
        run = _backend(implementation, values, indices)
        sums = run.weighted_sum(values, jnp.where(mine, rows, 0), jnp.where(mine, weights, 0))
        sums = _sum_and_scatter(sums, axes.slots_exchanged, axes.slots_kept)
        return _exchange(sums, axes.value_exchanged, split=0, join=1)

    return jax.shard_map(
        local,
        in_specs=(axes.table, axes.tokens, axes.tokens),
        out_specs=axes.sums,
        check_vma=False,
    )(values, indices, weights)


def _weights_gradient(layout, num_slots, implementation, values, indices, cotangent):
    axes = _Axes(layout, values.shape[0] == num_slots)

    def local(values, indices, cotangent):
        indices = _gather(indices, axes.exchanged)
        cotangent = _exchange(cotangent, axes.value_exchanged, split=1, join=0)
        cotangent = _gather(cotangent, axes.slots_exchanged)
        mine, rows = _own(axes.slots, indices, values.shape[0])
        run = _backend(implementation, values, indices)
        products = run.weights_gradient(values, jnp.where(mine, rows, 0), cotangent)
        products = jnp.where(mine, products, 0)
        return _sum_and_scatter(products, axes.exchanged, axes.slots_kept + axes.value_kept)

    return jax.shard_map(
        local,
        in_specs=(axes.table, axes.tokens, axes.sums),
        out_specs=axes.tokens,
        check_vma=False,
    )(values, indices, cotangent)


def _rows_gradient(layout, num_slots, implementation, places, weights, cotangent, num_rows):
    axes = _Axes(layout, num_rows == num_slots)
    parts = 1
    for axis in axes.slots:
        parts *= jax.sharding.get_abstract_mesh().shape[axis]

    def local(places, weights, cotangent):
        places, weights = (_gather(a, axes.exchanged) for a in (places, weights))
        cotangent = _exchange(cotangent, axes.value_exchanged, split=1, join=0)
        cotangent = _gather(cotangent, axes.slots_exchanged)
        size = num_rows // parts
        mine, rows = _own(axes.slots, places, size)
        like = jax.ShapeDtypeStruct((size, cotangent.shape[1]), jnp.float32)
        run = _backend(implementation, like, places)
        rows = jnp.where(mine, rows, size)
        sums = run.rows_gradient(rows, weights, cotangent, size)
        rest = tuple(axis for axis in axes.batch if axis not in axes.exchanged)
        return jax.lax.psum(sums, rest) if rest else sums

    return jax.shard_map(
        local,
        in_specs=(axes.tokens, axes.tokens, axes.sums),
        out_specs=axes.table,
        check_vma=False,
    )(places, weights, cotangent)


def _backend(implementation: Implementation | None, values, indices: jax.Array) -> Operations:
    return backends.choose(implementation, values, *indices.shape)


def _own(axes: Sequence[str], rows: jax.Array, rows_of_a_part: int) -> tuple[jax.Array, jax.Array]:
    """Which row numbers are of this device's part, and what they are within it."""
    if axes:
        rows = rows - jax.lax.axis_index(tuple(axes)) * rows_of_a_part
    return (rows >= 0) & (rows < rows_of_a_part), rows


def _gather(array: jax.Array, axes: tuple[str, ...]) -> jax.Array:
    return jax.lax.all_gather(array, axes, axis=0, tiled=True) if axes else array


def _sum_and_scatter(
    array: jax.Array, scattered: tuple[str, ...], summed: tuple[str, ...]
) -> jax.Array:
    """The sum over both; along `scattered` each device keeps its part of the leading axis."""
    if summed:
        array = jax.lax.psum(array, summed)
    if scattered:
        array = jax.lax.psum_scatter(array, scattered, scatter_dimension=0, tiled=True)
    return array


def _exchange(array: jax.Array, axes: tuple[str, ...], split: int, join: int) -> jax.Array:
    return jax.lax.all_to_all(array, axes, split, join, tiled=True) if axes else array
