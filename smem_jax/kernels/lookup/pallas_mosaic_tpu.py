"""The weighted row sum and its gradient for the weights on a TPU's TensorCore, in Pallas.

The table stays in HBM, and each row read is one copy of its own from there to VMEM. A *step* of the
kernel is one read of eight tokens: eight rows, which the copies lay side by side into the sublanes
of one [8, value_dim] buffer, so that a step's arithmetic fills whole vector registers. The buffers
form a ring: while one step is computed, the copies of the `RING - 1` steps after it (of `reads`, if
those are fewer) are under way, up to 120 rows, across the boundaries of groups of eight tokens. Row
numbers come in blocks of tokens to SMEM, where a copy's address has to come from; weights,
cotangents and results come and go in the same blocks through VMEM. The ring is filled anew for each
block. Nothing else is stored: no [tokens, reads, value_dim] array of rows exists.

Two rows of bfloat16 share the 32-bit words of a sublane, and a copy moves whole words. So the table
is read as uint32 [num_slots / 2, value_dim]: a copy fetches the pair of rows that the one wanted is
in, and the half is picked in VMEM. This moves as many bytes as float32 would.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

# Tokens of a step: the sublanes of a vector register.
GROUP = 8
LANES = 128
# Row numbers of a block, with reads rounded up to whole lanes. Twice that (the next block's are
# fetched meanwhile) is an eighth of the scalar memory of 1 MiB that chips from v4 on have.
BLOCK_READS = 16384
# Tokens of a block, where reads are few.
BLOCK_TOKENS = 64
# Buffers. A power of two, so that their number in the ring is a step's lowest bits.
RING = 16
# Above this, ring and blocks do not fit the 16 MiB of VMEM of a v4, the least.
MAX_VALUE_DIM = 8192


def unsupported(values_shape: tuple[int, int], dtype: Any, tokens: int, reads: int) -> str | None:
    """Why these kernels cannot read such a table, as a phrase, or None (see `backends`)."""
    if values_shape[1] > MAX_VALUE_DIM:
        return f"value_dim={values_shape[1]} exceeds {MAX_VALUE_DIM}"
    if reads > BLOCK_READS // GROUP:
        return f"reads={reads} exceeds {BLOCK_READS // GROUP}"
    return unsupported_tiling(values_shape, dtype, tokens, reads)


def unsupported_tiling(
    values_shape: tuple[int, int], dtype: Any, tokens: int, reads: int
) -> str | None:
    """As `unsupported`, of what no core of a TPU can read for how the table lies in its memory."""
    num_slots, value_dim = values_shape
    if dtype not in (jnp.float32, jnp.bfloat16):
        return f"values are {jnp.dtype(dtype)}, not float32 or bfloat16"
    if value_dim % LANES:
        return f"value_dim={value_dim} is no multiple of {LANES}"
    if dtype == jnp.bfloat16 and num_slots % 2:
        return f"num_slots={num_slots} rows of bfloat16 do not pair up"
    if not tokens or not reads:
        return "there is nothing to read"
    return None


def weighted_sum(
    values: jax.Array, indices: jax.Array, weights: jax.Array, interpret: Any = False
) -> jax.Array:
    """As in `base`, for tables with `unsupported` None; `interpret` is for `pallas_call`."""
    return _call(_weighted_sum_of_group, values, indices, weights, values.shape[1], interpret)


def weights_gradient(
    values: jax.Array, indices: jax.Array, cotangent: jax.Array, interpret: Any = False
) -> jax.Array:
    """As in `base`; for the rest as `weighted_sum`."""
    return _call(_dots_of_group, values, indices, cotangent, indices.shape[1], interpret)


def pairs_of_rows(values: jax.Array) -> jax.Array:
    """The words of a table of bfloat16 as the kernels see them: uint32 [num_slots / 2, value_dim].

    Row 2 i is in the lower halves of row i, row 2 i + 1 in the upper ones. For interpret mode only,
    which cannot bitcast a reference: on a TPU this would copy the table.
    """
    pairs = values.reshape(-1, 2, values.shape[1]).swapaxes(1, 2)
    return jax.lax.bitcast_convert_type(pairs, jnp.uint32)


def _weighted_sum_of_group(take_rows, weights, reads, value_dim):
    """[8, value_dim] from weights [8, reads] and the rows, which come in the order of reads."""

    def add(read, total):
        return total + _column(weights, read) * take_rows(read)

    return jax.lax.fori_loop(0, reads, add, jnp.zeros((GROUP, value_dim), jnp.float32))


def _dots_of_group(take_rows, cotangent, reads, value_dim):
    """[8, reads] from a cotangent [8, value_dim] and the rows, which come in the order of reads."""
    del value_dim
    lanes = jax.lax.broadcasted_iota(jnp.int32, (GROUP, reads), 1)

    def put(read, dots):
        dot = jnp.sum(cotangent * take_rows(read), axis=1, keepdims=True)
        return jnp.where(lanes == read, dot, dots)

    return jax.lax.fori_loop(0, reads, put, jnp.zeros((GROUP, reads), jnp.float32))


def _column(matrix, column):
    """Column number `column` (traced) of [8, n], as [8, 1]: lanes take no dynamic index."""
    lanes = jax.lax.broadcasted_iota(jnp.int32, matrix.shape, 1)
    return jnp.sum(jnp.where(lanes == column, matrix, 0), axis=1, keepdims=True)


def _call(
    of_group: Callable,
    values: jax.Array,
    indices: jax.Array,
    operand: jax.Array,
    width: int,
    interpret: Any,
) -> jax.Array:
    """The pallas_call of either operation: float32 [tokens, width], `of_group` of each 8 tokens."""
    tokens, reads = indices.shape
    value_dim = values.shape[1]
    block = min(BLOCK_READS // pl.cdiv(reads, LANES) // LANES, BLOCK_TOKENS) // GROUP * GROUP
    block = min(block, pl.cdiv(tokens, GROUP) * GROUP)
    padding = ((0, -tokens % block), (0, 0))
    indices, operand = jnp.pad(indices, padding), jnp.pad(operand, padding)
    packed = values.dtype == jnp.bfloat16
    if packed and interpret:
        values = pairs_of_rows(values)

    def blocks(columns, memory_space=pltpu.VMEM):
        return pl.BlockSpec((block, columns), lambda step: (step, 0), memory_space=memory_space)

    result = pl.pallas_call(
        functools.partial(_kernel, of_group),
        grid=(indices.shape[0] // block,),
        in_specs=[
            blocks(reads, pltpu.SMEM),
            blocks(reads),
            blocks(operand.shape[1]),
            pl.BlockSpec(memory_space=pl.ANY),
        ],
        out_specs=blocks(width),
        out_shape=jax.ShapeDtypeStruct((indices.shape[0], width), jnp.float32),
        scratch_shapes=[
            pltpu.VMEM((RING, GROUP, value_dim), jnp.uint32 if packed else jnp.float32),
            pltpu.SemaphoreType.DMA((RING,)),
        ],
        # The blocks are independent, so that the two cores of a v4 or v5p can share them.
        compiler_params=pltpu.CompilerParams(dimension_semantics=("parallel",)),
        interpret=interpret,
        name=of_group.__name__.strip("_"),
    )(indices, indices, operand, values)
    return result[:tokens]


def _kernel(of_group, slots, slots_vector, operand, table, result, buffers, arrivals):
    """One grid step: a block of tokens, group after group of eight.

    `slots` [block, reads] lies in SMEM, `slots_vector`, the same, in VMEM; `operand` and `result`
    [block, ...] in VMEM; `table` in HBM. `arrivals` counts the bytes that came into each buffer.
    """
    block, reads = slots.shape
    value_dim = buffers.shape[2]
    groups = block // GROUP
    ahead = min(RING - 1, reads)
    packed = buffers.dtype == jnp.uint32
    if table.dtype == jnp.bfloat16:
        table = table.bitcast(jnp.uint32)

    def fetch(group, read):
        """Starts the copies of a step, which may be so many reads beyond the end of its group."""
        beyond = read >= reads
        group, read = group + beyond.astype(jnp.int32), jnp.where(beyond, read - reads, read)
        place = (group * reads + read) & (RING - 1)

        @pl.when(group < groups)
        def _():
            for token in range(GROUP):
                row = slots[group * GROUP + token, read] >> packed
                pltpu.make_async_copy(
                    table.at[pl.ds(row, 1)],
                    buffers.at[place, pl.ds(token, 1)],
                    arrivals.at[place],
                ).start()

    @pl.loop(0, ahead)
    def _(step):
        fetch(jnp.int32(0), step)

    @pl.loop(0, groups)
    def _(group):
        tokens = pl.ds(pl.multiple_of(group * GROUP, GROUP), GROUP)
        odd = slots_vector[tokens] & 1

        def take_rows(read):
            """The rows of the group's next read, float32 [8, value_dim]."""
            fetch(group, read + ahead)
            place = (group * reads + read) & (RING - 1)
            # Waits for the bytes of all eight copies; where they came from is of no matter.
            whole = buffers.at[place]
            pltpu.make_async_copy(whole, whole, arrivals.at[place]).wait()
            rows = buffers[place]
            return _half(rows, _column(odd, read)) if packed else rows

        result[tokens] = of_group(take_rows, operand[tokens], reads, value_dim)


def _half(words, odd):
    """Of pairs of bfloat16 [8, n] in uint32 the upper halves where `odd` [8, 1], as float32."""
    upper, lower = words & jnp.uint32(0xFFFF0000), words << 16
    return pltpu.bitcast(jnp.where(odd == 1, upper, lower), jnp.float32)
