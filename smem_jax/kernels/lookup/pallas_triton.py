"""The weighted row sum and its gradients on an NVIDIA GPU from Ampere on, in Pallas by Triton.

Rows are gathered as a tile [READS, block] by a vector of row numbers: each thread can have READS
loads of 16 bytes under way at once, and neighbouring threads read neighbouring bytes. A program has
as many warps as it takes to read one row of a block in one go, so that the sum over reads stays
within a thread. Forward, one program makes one token's block of columns; a row of up to BLOCK_BYTES
is one block, read as one piece. The gradient for the weights has one program for each token, which
keeps the token's cotangent in registers.

The gradient for rows has no atomics and gives the same bits every time: the reads are sorted by
row, and one program for each row and block of columns adds up that row's reads in their order.

Pallas computes Triton's offsets in 64 bits as soon as an array has more than 2**32 bytes, so a
table may be of any size. The sizes below were chosen by counting bytes and registers; no GPU has
timed them.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

# Rows of a tile, which are loads of 16 bytes for each thread. Triton wants a power of two.
READS = 8
# The same for the gradient of rows, most of which have few reads or none.
READS_OF_ROW = 4
# Of a table's row, what one program reads at a time: 16 bytes by each thread of eight warps.
BLOCK_BYTES = 4096
THREAD_BYTES = 16
WARP = 32


def unsupported(values_shape: tuple[int, int], dtype: Any, tokens: int, reads: int) -> str | None:
    """Why these kernels cannot read such a table, as a phrase, or None (see `backends`)."""
    if dtype not in (jnp.float32, jnp.bfloat16):
        return f"values are {jnp.dtype(dtype)}, not float32 or bfloat16"
    if not tokens or not reads or not values_shape[1]:
        return "there is nothing to read"
    if tokens * reads >= 2**31:
        return f"tokens={tokens} times reads={reads} exceeds 32 bits"
    return None


def weighted_sum(
    values: jax.Array, indices: jax.Array, weights: jax.Array, interpret: bool = False
) -> jax.Array:
    """As in `base`, for tables with `unsupported` None; `interpret` is for `pallas_call`."""
    tokens, value_dim = indices.shape[0], values.shape[1]
    block, warps = _block_and_warps(value_dim, values.dtype)
    return _call(
        functools.partial(_sum_of_token, block=block),
        grid=(tokens, pl.cdiv(value_dim, block)),
        shape=(tokens, value_dim),
        warps=warps,
        interpret=interpret,
    )(values, indices, weights)


def weights_gradient(
    values: jax.Array, indices: jax.Array, cotangent: jax.Array, interpret: bool = False
) -> jax.Array:
    """As in `base`; for the rest as `weighted_sum`."""
    block, warps = _block_and_warps(values.shape[1], values.dtype)
    return _call(
        functools.partial(_dots_of_token, block=block),
        grid=(indices.shape[0],),
        shape=indices.shape,
        warps=warps,
        interpret=interpret,
    )(values, indices, cotangent)


def rows_gradient(
    places: jax.Array,
    weights: jax.Array,
    cotangent: jax.Array,
    num_rows: int,
    interpret: bool = False,
) -> jax.Array:
    """As in `base`; for the rest as `weighted_sum`.

    The reads of a row are added in the order (t, k), so that the bits are always the same.
    """
    reads, value_dim = places.shape[1], cotangent.shape[1]
    numbers = jnp.arange(places.size, dtype=jnp.int32)
    ordered, order = jax.lax.sort((places.ravel(), numbers), num_keys=1, is_stable=True)
    # Row r has the reads from bounds[r] to bounds[r + 1] of that order. [num_rows + 1]
    bounds = jnp.searchsorted(
        ordered, jnp.arange(num_rows + 1, dtype=jnp.int32), method="scan_unrolled"
    ).astype(jnp.int32)
    block, warps = _block_and_warps(value_dim, cotangent.dtype)
    return _call(
        functools.partial(_sum_of_row, block=block),
        grid=(num_rows, pl.cdiv(value_dim, block)),
        shape=(num_rows, value_dim),
        # A program waits for three loads, one after another, and stores few bytes. With half the
        # warps, and two loads a row for each thread, a multiprocessor has room for more programs.
        warps=max(warps // 2, 1),
        interpret=interpret,
    )(bounds, order // reads, weights.ravel()[order], cotangent)


def _sum_of_token(values, indices, weights, result, *, block):
    """Program (token, block of columns): result[token, columns]."""
    token = pl.program_id(0)
    reads, value_dim = indices.shape[1], values.shape[1]
    count = min(READS, pl.next_power_of_2(reads))
    columns, inside = _range(pl.program_id(1) * block, block, value_dim)

    def add(step, total):
        places, present = _range(step * count, count, reads)
        slots = _load(indices.at[token, places], present)
        factors = _load(weights.at[token, places], present)
        rows = _load_tile(values, slots, present, columns, inside)
        return total + jnp.sum(factors[:, None] * rows, axis=0)

    zeros = jnp.zeros((block,), jnp.float32)
    total = jax.lax.fori_loop(0, pl.cdiv(reads, count), add, zeros)
    plgpu.store(result.at[token, columns], total, mask=inside)


def _dots_of_token(values, indices, cotangent, result, *, block):
    """Program (token): result[token]."""
    token = pl.program_id(0)
    reads, value_dim = indices.shape[1], values.shape[1]
    count = min(READS, pl.next_power_of_2(reads))
    blocks = [_range(first, block, value_dim) for first in range(0, value_dim, block)]
    parts = [_load(cotangent.at[token, columns], inside) for columns, inside in blocks]

    @pl.loop(0, pl.cdiv(reads, count))
    def _(step):
        places, present = _range(step * count, count, reads)
        slots = _load(indices.at[token, places], present)
        dots = jnp.zeros((count,), jnp.float32)
        for part, (columns, inside) in zip(parts, blocks, strict=True):
            rows = _load_tile(values, slots, present, columns, inside)
            dots += jnp.sum(part[None, :] * rows, axis=1)
        plgpu.store(result.at[token, places], dots, mask=present)


def _sum_of_row(bounds, tokens, weights, cotangent, result, *, block):
    """Program (row, block of columns): result[row, columns], of reads in the order of rows."""
    row = pl.program_id(0)
    begin, end = bounds[row], bounds[row + 1]
    columns, inside = _range(pl.program_id(1) * block, block, cotangent.shape[1])

    def add(step, total):
        places = begin + step * READS_OF_ROW + jnp.arange(READS_OF_ROW)
        present = places < end
        factors = _load(weights.at[places], present)
        sources = _load(tokens.at[places], present)
        rows = _load_tile(cotangent, sources, present, columns, inside)
        return total + jnp.sum(factors[:, None] * rows, axis=0)

    zeros = jnp.zeros((block,), jnp.float32)
    total = jax.lax.fori_loop(0, pl.cdiv(end - begin, READS_OF_ROW), add, zeros)
    plgpu.store(result.at[row, columns], total, mask=inside)


def _block_and_warps(value_dim: int, dtype: Any) -> tuple[int, int]:
    """Columns that a program reads at a time, a power of two as Triton needs, and its warps."""
    itemsize = jnp.dtype(dtype).itemsize
    block = min(pl.next_power_of_2(value_dim), BLOCK_BYTES // itemsize)
    return block, max(block * itemsize // (WARP * THREAD_BYTES), 1)


def _call(
    kernel: functools.partial,
    grid: tuple[int, ...],
    shape: tuple[int, ...],
    warps: int,
    interpret: bool,
) -> Callable:
    """The pallas_call of a kernel that sees every array whole, for a float32 result of `shape`."""
    return pl.pallas_call(
        kernel,
        grid=grid,
        out_shape=jax.ShapeDtypeStruct(shape, jnp.float32),
        # Triton pipelines a loop's loads for a dot, of which there is none here.
        compiler_params=plgpu.CompilerParams(num_warps=warps, num_stages=1),
        interpret=interpret,
        name=kernel.func.__name__.strip("_"),
    )


def _range(start, size, limit):
    """The numbers from start on, [size], and which are below the limit: None if always all are."""
    numbers = start + jnp.arange(size, dtype=jnp.int32)
    return numbers, None if limit % size == 0 else numbers < limit


def _load(ref, mask):
    """What the mask leaves out is not read and gives zero."""
    return plgpu.load(ref, mask=mask, other=None if mask is None else 0)


def _load_tile(table, rows, present, columns, inside):
    """float32 [len(rows), len(columns)]; zero where not `present`, of the rows, or `inside`."""
    mask = None if present is None else present[:, None]
    if inside is not None:
        mask = inside[None, :] if mask is None else mask & inside[None, :]
    return _load(table.at[rows[:, None], columns[None, :]], mask).astype(jnp.float32)
