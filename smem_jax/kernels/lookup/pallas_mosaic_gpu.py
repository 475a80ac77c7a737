"""The weighted row sum and its gradient for the weights on Hopper and later, by Mosaic GPU.

One program, a warpgroup of 128 threads, makes one token's result. Each row that it reads is one
bulk copy of its own, from the table in global memory to a buffer in shared memory. The buffers form
a ring of steps, each of a few rows and with a barrier that counts their bytes. A program starts the
copies of all steps that the ring holds; then it waits for the oldest step, computes it in float32
in registers, and has its buffers filled anew. So each program has IN_FLIGHT_BYTES, less the step at
hand, under way, and three programs fit a multiprocessor. Row numbers and weights are read as
scalars, and no array is padded: a step's rows divide the reads.

A copy's address is computed in 64 bits, so a table may be of any size. The gradient for rows is in
`pallas_triton`. The sizes below were chosen by counting bytes and registers; no GPU has timed them.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu

THREADS = 128
# Shared memory of a program. Three programs fit the 227 KiB of a multiprocessor.
IN_FLIGHT_BYTES = 65536
# Rows of a step, where the reads are a multiple of that and MIN_STEPS of it fit.
MAX_ROWS = 8
MIN_STEPS = 4
# Barriers of one array of them are at most 32.
MAX_STEPS = 32
# The sum and a row of so many columns are 128 of the 255 registers of a thread.
MAX_VALUE_DIM = 8192


def unsupported(values_shape: tuple[int, int], dtype: Any, tokens: int, reads: int) -> str | None:
    """Why these kernels cannot read such a table, as a phrase, or None (see `backends`)."""
    value_dim = values_shape[1]
    if dtype not in (jnp.float32, jnp.bfloat16):
        return f"values are {jnp.dtype(dtype)}, not float32 or bfloat16"
    # Every thread has as many columns. It also makes a row a multiple of the 16 bytes that the
    # address and the length of a bulk copy have to be.
    if value_dim % THREADS or not value_dim:
        return f"value_dim={value_dim} is no multiple of {THREADS}"
    if value_dim > MAX_VALUE_DIM:
        return f"value_dim={value_dim} exceeds {MAX_VALUE_DIM}"
    if not tokens or not reads:
        return "there is nothing to read"
    return None


def weighted_sum(
    values: jax.Array, indices: jax.Array, weights: jax.Array, interpret: Any = False
) -> jax.Array:
    """As in `base`, for tables with `unsupported` None.

    `interpret` is for `plgpu.kernel`: parameters of the GPU's interpret mode, or False.
    """
    return _call(_sum_of_token, values, indices, weights, values.shape[1], interpret)


def weights_gradient(
    values: jax.Array, indices: jax.Array, cotangent: jax.Array, interpret: Any = False
) -> jax.Array:
    """As in `base`; for the rest as `weighted_sum`."""
    return _call(_dots_of_token, values, indices, cotangent, indices.shape[1], interpret)


def _sum_of_token(values, indices, weights, result, buffers, arrivals):
    """Program (token): result[token]."""
    token = jax.lax.axis_index("token")

    def add(read, rows, total):
        for row, values_of_row in enumerate(rows):
            total += weights[token, read + row] * values_of_row
        return total

    zeros = jnp.zeros((values.shape[1],), jnp.float32)
    result[token] = _over_reads(add, zeros, token, values, indices, buffers, arrivals)


def _dots_of_token(values, indices, cotangent, result, buffers, arrivals):
    """Program (token): result[token]."""
    token = jax.lax.axis_index("token")
    cotangent_of_token = cotangent[token]

    def put(read, rows, carry):
        for row, values_of_row in enumerate(rows):
            result[token, read + row] = jnp.sum(cotangent_of_token * values_of_row)
        return carry

    _over_reads(put, None, token, values, indices, buffers, arrivals)


def _over_reads(function, carry, token, values, indices, buffers, arrivals):
    """`carry` after `function(first read, rows, carry)` of every step of a token.

    `values` and `indices` lie in global memory; `buffers` [ring, rows of a step, value_dim] and
    `arrivals`, a barrier for each step of the ring, in shared memory. `rows` are float32
    [value_dim] each.
    """
    ring, count, _ = buffers.shape
    steps = indices.shape[1] // count

    def fetch(step):
        place = jax.lax.rem(step, ring)
        # All row numbers first: each copy is a barrier that the loads of numbers cannot overtake.
        slots = [indices[token, step * count + row] for row in range(count)]
        for row, slot in enumerate(slots):
            plgpu.copy_gmem_to_smem(
                values.at[slot],
                buffers.at[place, row],
                arrivals.at[place],
                # Otherwise the copy is by a descriptor, which takes at most 256 columns.
                oob_mode=plgpu.OOBFillMode.PROMISE_IN_BOUNDS,
            )

    def one_step(step, carry):
        place = jax.lax.rem(step, ring)
        plgpu.barrier_wait(arrivals.at[place])
        rows = [buffers[place, row].astype(jnp.float32) for row in range(count)]
        carry = function(step * count, rows, carry)

        @pl.when(step + ring < steps)
        def _():
            # Every thread has read these buffers before a copy may overwrite them.
            plgpu.commit_smem()
            fetch(step + ring)

        return carry

    pl.loop(0, ring)(fetch)
    return jax.lax.fori_loop(0, steps, one_step, carry)


def _ring_and_rows(value_dim: int, dtype: Any, reads: int) -> tuple[int, int]:
    """Steps that a ring holds, and the rows of each, which divide the reads."""
    row_bytes = value_dim * jnp.dtype(dtype).itemsize
    rows = MAX_ROWS
    while rows > 1 and (reads % rows or MIN_STEPS * rows * row_bytes > IN_FLIGHT_BYTES):
        rows //= 2
    return min(IN_FLIGHT_BYTES // (rows * row_bytes), MAX_STEPS, reads // rows), rows


def _call(
    kernel: Callable,
    values: jax.Array,
    indices: jax.Array,
    operand: jax.Array,
    width: int,
    interpret: Any,
) -> jax.Array:
    """Either operation: float32 [tokens, width], of one program for each token."""
    tokens, reads = indices.shape
    value_dim = values.shape[1]
    ring, rows = _ring_and_rows(value_dim, values.dtype, reads)
    return plgpu.kernel(
        kernel,
        out_type=jax.ShapeDtypeStruct((tokens, width), jnp.float32),
        grid=(tokens,),
        grid_names=("token",),
        scratch_types=(
            plgpu.SMEM((ring, rows, value_dim), values.dtype),
            plgpu.Barrier(num_arrivals=rows, num_barriers=ring),
        ),
        # Which register holds which column is inferred; the other semantics want it said.
        compiler_params=plgpu.CompilerParams(lowering_semantics=plgpu.LoweringSemantics.Warpgroup),
        interpret=interpret,
    )(values, indices, operand)
