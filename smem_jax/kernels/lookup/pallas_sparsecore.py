"""The weighted row sum and its gradient for the weights on a TPU's SparseCores, in Pallas.

A SparseCore gathers: given a list of row numbers in a vector subcore's own memory (TileSpmem), its
stream engine copies those rows from HBM there, all by one instruction. The vector subcores take
turns at blocks of eight tokens. One copies a block's row numbers and weights (or cotangents) to its
memory, then gathers *windows*, some reads of one token each, into two buffers by turns: while it
computes with one window, the next is on its way. What is made of a block goes back to HBM at its
end. The size of a window is what the chip's TileSpmem holds beside the rest, at most 128 rows.

The table stays in HBM in the layout that XLA gave it, and may have up to 16 GiB. The stream engine
moves words of 32 bits, while two rows of bfloat16 share theirs: as in `pallas_mosaic_tpu`, pairs of
rows are gathered and the half is picked in the subcore. Where the number of reads is filled up, the
last read of a token is repeated with weight 0, so an infinite value in that row gives NaN.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jax.experimental.pallas import tpu_sc as plsc

from smem_jax.kernels.lookup.pallas_mosaic_tpu import (
    GROUP,
    LANES,
    pairs_of_rows,
    unsupported_tiling,
)

# Row numbers of one gather; a stream takes no more.
MAX_WINDOW = 128
# The compiler refuses larger arrays to a SparseCore.
MAX_TABLE_BYTES = 16 * 2**30


def unsupported(values_shape: tuple[int, int], dtype: Any, tokens: int, reads: int) -> str | None:
    """As `pallas_mosaic_tpu.unsupported`.

    The answer depends on the chip: that of the mesh in use, else the default device's.
    """
    core = _sparse_core()
    if core is None:
        return "the device has no SparseCore"
    if reason := unsupported_tiling(values_shape, dtype, tokens, reads):
        return reason
    num_slots, value_dim = values_shape
    if num_slots * value_dim * jnp.dtype(dtype).itemsize > MAX_TABLE_BYTES:
        return f"num_slots={num_slots} with value_dim={value_dim} exceeds {MAX_TABLE_BYTES} bytes"
    if not _window(value_dim, reads, core):
        return f"value_dim={value_dim} with reads={reads} does not fit a subcore's memory"
    return None


def weighted_sum(
    values: jax.Array, indices: jax.Array, weights: jax.Array, interpret: Any = False
) -> jax.Array:
    """As `pallas_mosaic_tpu.weighted_sum`; `interpret` is handed to `pl.kernel`."""
    tokens, value_dim = indices.shape[0], values.shape[1]
    weights = _pad_reads(weights, "constant")
    return _call(_add_window, values, indices, weights, value_dim, interpret)[:tokens]


def weights_gradient(
    values: jax.Array, indices: jax.Array, cotangent: jax.Array, interpret: Any = False
) -> jax.Array:
    """As `pallas_mosaic_tpu.weights_gradient`; `interpret` is handed to `pl.kernel`."""
    tokens, reads = indices.shape
    return _call(_dot_window, values, indices, cotangent, None, interpret)[:tokens, :reads]


def _sparse_core():
    """Numbers of cores, subcores and lanes, and memory; None where there is no SparseCore."""
    try:
        return pltpu.get_tpu_info().sparse_core
    except ValueError:  # no TPU
        return None


def _window(value_dim: int, reads: int, core) -> int:
    """Reads of a window: as many as fit and divide the reads of a token; 0 if none do.

    An eighth of the memory is left to the compiler.
    """
    lanes = core.num_lanes
    reads = pl.cdiv(reads, lanes) * lanes
    room = core.vmem_capacity_bytes // 8 * 7 - _bytes_used(0, value_dim, reads)
    fitting = room // _bytes_used(1, value_dim, 0)
    windows = range(lanes, min(fitting, reads, MAX_WINDOW) + 1, lanes)
    return max((window for window in windows if reads % window == 0), default=0)


def _bytes_used(window: int, value_dim: int, reads: int) -> int:
    """What two buffers of a window take of a subcore's memory, and a block of tokens if it has any.

    That is row numbers (twice), weights or their gradient, and sums or cotangents.
    """
    block = value_dim + 3 * pl.cdiv(reads, LANES) * LANES if reads else 0
    return 4 * (2 * window * value_dim + GROUP * block)


def _pad_reads(matrix, mode):
    """[tokens, reads] with reads a multiple of the lanes."""
    return jnp.pad(matrix, ((0, 0), (0, -matrix.shape[1] % _sparse_core().num_lanes)), mode=mode)


def _call(
    compute: Callable,
    values: jax.Array,
    indices: jax.Array,
    operand: jax.Array,
    width: int | None,
    interpret: Any,
) -> jax.Array:
    """The kernel of either operation: float32, [tokens, width] (reads where None) with padding.

    More tokens and reads are made by repeating the last, so that no row is read that is not asked
    for: weights beyond the given ones are 0, and results are cut off.
    """
    core = _sparse_core()
    window = _window(values.shape[1], indices.shape[1], core)
    more_tokens = ((0, -indices.shape[0] % GROUP), (0, 0))
    indices = jnp.pad(_pad_reads(indices, "edge"), more_tokens, mode="edge")
    operand = jnp.pad(operand, more_tokens)
    tokens, reads = indices.shape
    width = width or reads
    packed = values.dtype == jnp.bfloat16
    run = pl.kernel(
        functools.partial(_kernel, functools.partial(compute, core.num_lanes), core.num_lanes),
        out_type=jax.ShapeDtypeStruct((tokens, width), jnp.float32),
        mesh=plsc.VectorSubcoreMesh(core_axis_name="core", subcore_axis_name="subcore"),
        scratch_types=[
            pltpu.VMEM((GROUP, reads), jnp.int32),
            pltpu.VMEM((GROUP * reads,), jnp.int32),
            pltpu.VMEM((GROUP, operand.shape[1]), jnp.float32),
            pltpu.VMEM((GROUP, width), jnp.float32),
            pltpu.VMEM((2, window, values.shape[1]), jnp.uint32 if packed else jnp.float32),
            pltpu.SemaphoreType.DMA((2,)),
        ],
        # In another tiling than the TensorCore's, the table would be copied. Every vector below has
        # the shape of a register; inferring layouts rules out loops that carry vectors.
        compiler_params=pltpu.CompilerParams(use_tc_tiling_on_sc=True, needs_layout_passes=False),
        interpret=interpret,
        name=compute.__name__.strip("_"),
    )
    return run(pairs_of_rows(values) if packed and interpret else values, indices, operand)


def _kernel(
    compute, lanes, table, indices, operand, result, slots, rows, given, made, buffers, arrivals
):
    """What one vector subcore does: all its blocks of tokens.

    `table` [num_slots, value_dim], `indices` [tokens, reads], `operand` and `result` [tokens, ...]
    lie in HBM, the rest in the subcore's memory: of a block its `slots` [8, reads], the table's
    `rows` [8 * reads] to gather for them, its part of the operand, `given`, and of the result,
    `made`. `buffers` are [2, window, value_dim]; `arrivals` counts the bytes that came into each.
    """
    reads, window = slots.shape[1], buffers.shape[1]
    windows = reads // window
    packed = buffers.dtype == jnp.uint32
    if table.dtype == jnp.bfloat16:
        table = table.bitcast(jnp.uint32)
    num_subcores = jax.lax.axis_size("subcore")
    first = jax.lax.axis_index("core") * num_subcores + jax.lax.axis_index("subcore")

    def copy(step):
        """Of a window, which is a step."""
        of_window = rows.at[pl.ds(step * window, window)]
        return _gather(table, of_window, buffers.at[step & 1], arrivals.at[step & 1])

    @pl.loop(first, indices.shape[0] // GROUP, step=jax.lax.axis_size("core") * num_subcores)
    def _(block):
        tokens = pl.ds(pl.multiple_of(block * GROUP, GROUP), GROUP)
        pltpu.sync_copy(indices.at[tokens], slots)
        _list_rows(slots, rows, packed, lanes)
        copy(0).start()
        pltpu.sync_copy(operand.at[tokens], given)

        @pl.loop(0, GROUP)
        def _(token):
            @pl.loop(0, windows)
            def _(number):
                step = token * windows + number

                @pl.when(step + 1 < GROUP * windows)
                def _():
                    copy(step + 1).start()

                copy(step).wait()
                compute(token, number, buffers.at[step & 1], slots, given, made)

        pltpu.sync_copy(made, result.at[tokens])


def _gather(table, rows, buffer, arrival):
    """The copy of the table's `rows` [window], numbers in the subcore's memory, to a buffer."""
    return pltpu.make_async_copy(table.at[rows], buffer, arrival)


def _list_rows(slots, rows, packed, lanes):
    """Sets `rows` [8 * reads] to the rows that hold `slots` [8, reads] in a table of words."""
    reads = slots.shape[1]
    for token in range(GROUP):

        @pl.loop(0, reads, step=lanes)
        def _(read, token=token):
            of_token = slots[token, pl.ds(read, lanes)]
            rows[pl.ds(token * reads + read, lanes)] = of_token >> int(packed)


def _add_window(lanes, token, number, buffer, slots, weights, sums):
    """Adds window `number` of a token to its sum, which the first one begins."""
    window, value_dim = buffer.shape
    for group in range(0, window, lanes):
        reads = pl.ds(number * window + group, lanes)
        weight = weights[token, reads]
        odd = slots[token, reads] & 1
        is_first = (number == 0) & (group == 0)

        @plsc.parallel_loop(0, value_dim, lanes)
        def _(column, group=group, weight=weight, odd=odd, is_first=is_first):
            columns = pl.ds(column, lanes)
            total = jnp.where(is_first, 0.0, sums[token, columns])
            for read in range(lanes):
                total += weight[read] * _floats(buffer[group + read, columns], odd[read])
            sums[token, columns] = total


def _dot_window(lanes, token, number, buffer, slots, cotangent, dots):
    """Sets the dot products of a token with the rows of its window `number`."""
    window, value_dim = buffer.shape
    places = jax.lax.iota(jnp.int32, lanes)
    for group in range(0, window, lanes):
        reads = pl.ds(number * window + group, lanes)
        odd = slots[token, reads] & 1
        nothing = (jnp.zeros(lanes, jnp.float32),) * lanes

        @plsc.parallel_loop(0, value_dim, lanes, carry=nothing)
        def products(column, totals, group=group, odd=odd):
            columns = pl.ds(column, lanes)
            factor = cotangent[token, columns]
            return tuple(
                total + factor * _floats(buffer[group + read, columns], odd[read])
                for read, total in enumerate(totals)
            )

        of_group = jnp.zeros(lanes, jnp.float32)
        for read, product in enumerate(products):
            of_group = jnp.where(places == read, jnp.sum(product), of_group)
        dots[token, reads] = of_group


def _floats(words, odd):
    """float32 [lanes] from themselves, or from the `odd` (0 or 1) halves of pairs of bfloat16."""
    if words.dtype == jnp.float32:
        return words
    # The half wanted goes to the upper 16 bits, the other one away.
    upper = jnp.where(odd == 1, words, words << 16) & jnp.uint32(0xFFFF0000)
    return plsc.bitcast(upper, jnp.float32)
