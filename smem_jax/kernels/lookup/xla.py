"""The lookup for any XLA backend, with no [tokens, reads, value_dim] array in any direction.

XLA fuses a gather into the arithmetic around it, but not into a reduction: of the plain form it
would make every row of every read. So each sum is written as additions of gathers, several to a
loop iteration, so that the reads of several rows are under way at once.

Indices have to be in range: a gather out of range reads anything.
"""

import jax
import jax.numpy as jnp

from smem_jax import bits

# Rows that the weighted sum adds in one iteration: of 8 to 128, the fastest on an x86 server.
_READS_AT_A_TIME = 16
# Columns of one gather in the gradient of the weights, and of the gathers of one iteration.
_LANES, _COLUMNS = 16, 256
_TOKENS_AT_A_TIME = 512
# Reads whose share in the gradient of the rows is added in one iteration.
_SHARES_AT_A_TIME = 1024


def weighted_sum(values: jax.Array, indices: jax.Array, weights: jax.Array) -> jax.Array:
    """As in `base`."""
    reads, value_dim = indices.shape[1], values.shape[1]

    def add(start: jax.Array | int, count: int, total: jax.Array) -> jax.Array:
        """`total` with `count` reads of every token added, from number `start` on."""
        slots = jax.lax.dynamic_slice_in_dim(indices, start, count, axis=1)
        factors = jax.lax.dynamic_slice_in_dim(weights, start, count, axis=1)
        for k in range(count):
            total += factors[:, k, None] * _gather(values, slots[:, k], 0, value_dim)
        return total

    whole, rest = divmod(reads, _READS_AT_A_TIME)
    total = jnp.zeros((indices.shape[0], value_dim), jnp.float32)
    if whole:
        total = jax.lax.fori_loop(
            0, whole, lambda i, total: add(i * _READS_AT_A_TIME, _READS_AT_A_TIME, total), total
        )
    return add(reads - rest, rest, total)


def weights_gradient(values: jax.Array, indices: jax.Array, cotangent: jax.Array) -> jax.Array:
    """As in `base`."""
    value_dim = values.shape[1]
    in_groups = value_dim - value_dim % _COLUMNS
    in_lanes = value_dim - value_dim % _LANES

    def products(start: jax.Array | int, width: int, lanes: int, token) -> jax.Array:
        """What `width` columns from `start` on give, [reads]; `lanes` at a time."""
        rows, gradient = token
        partial = jnp.zeros((rows.shape[0], lanes), jnp.float32)
        for column in range(0, width, lanes):
            some = jax.lax.dynamic_slice_in_dim(gradient, start + column, lanes)
            partial += some * _gather(values, rows, start + column, lanes)
        return jnp.matmul(partial, jnp.ones(lanes), precision="highest")

    def of_token(token) -> jax.Array:
        total = jnp.zeros(token[0].shape, jnp.float32)
        if in_groups:
            total = jax.lax.fori_loop(
                0,
                in_groups // _COLUMNS,
                lambda i, total: total + products(i * _COLUMNS, _COLUMNS, _LANES, token),
                total,
            )
        if in_lanes > in_groups:
            total += products(in_groups, in_lanes - in_groups, _LANES, token)
        if value_dim > in_lanes:
            total += products(in_lanes, value_dim - in_lanes, value_dim - in_lanes, token)
        return total

    return jax.lax.map(of_token, (indices, cotangent), batch_size=_TOKENS_AT_A_TIME)


def rows_gradient(
    places: jax.Array, weights: jax.Array, cotangent: jax.Array, num_rows: int
) -> jax.Array:
    """As in `base`.

    The work is that of the reads that have a row, however many others there are. Shares of a row
    are added in the order of the reads: the same bits each time, on every backend.
    """
    reads = places.shape[1]
    places, weights = places.ravel(), weights.ravel()
    size = -(-places.size // _SHARES_AT_A_TIME) * _SHARES_AT_A_TIME
    # The numbers of the reads that have a row, in order, and behind them ones that do not exist.
    ends = jnp.cumsum(places < num_rows)
    goes_to = jnp.where(places < num_rows, ends - 1, size)
    numbers = jnp.full(size, places.size, jnp.int32)
    numbers = numbers.at[goes_to].set(jnp.arange(places.size, dtype=jnp.int32), mode="drop")

    # Counted by ones: of a loop that goes in larger steps to a known end of 1, XLA makes none.
    num_chunks = -(-ends[-1] // _SHARES_AT_A_TIME)

    def more(state):
        return state[0] < num_chunks

    def add(state):
        chunk, total = state
        start = chunk * _SHARES_AT_A_TIME
        some = jax.lax.dynamic_slice_in_dim(numbers, start, _SHARES_AT_A_TIME)
        of_none = some == places.size
        some = jnp.where(of_none, 0, some)
        shares = weights[some, None] * cotangent[some // reads]
        rows = jnp.where(of_none, num_rows, places[some])
        total = jax.lax.platform_dependent(
            total, rows, shares, cpu=add_one_by_one, default=add_by_segment
        )
        return chunk + 1, total

    total = jnp.zeros((num_rows, cotangent.shape[1]), jnp.float32)
    return jax.lax.while_loop(more, add, (jnp.int32(0), total))[1]


def add_one_by_one(total: jax.Array, rows: jax.Array, shares: jax.Array) -> jax.Array:
    """`total` with shares[i] added to row rows[i], in order; rows out of range are dropped.

    XLA's scatter for the CPU adds one update after another. Elsewhere equal rows meet in atomics.
    """
    return total.at[rows].add(shares, mode="drop")


def add_by_segment(total: jax.Array, rows: jax.Array, shares: jax.Array) -> jax.Array:
    """The same with shares of equal rows sorted and summed first, by a product with ones."""
    rows, order = jax.lax.sort((rows, jnp.arange(rows.size, dtype=jnp.int32)), num_keys=1)
    is_first = jnp.concatenate([jnp.ones(1, bool), rows[1:] != rows[:-1]])
    segments = jnp.cumsum(is_first) - 1
    member = segments[None] == jnp.arange(rows.size)[:, None]  # [segments, shares]
    sums = jnp.matmul(member.astype(jnp.float32), shares[order], precision="highest")
    row_of_segment = jnp.full(rows.size, total.shape[0], rows.dtype).at[segments].set(rows)
    return total.at[row_of_segment].add(sums, mode="drop")


def _gather(values: jax.Array, rows: jax.Array, first: jax.Array | int, width: int) -> jax.Array:
    """values[rows, first : first + width] in float32, [*rows.shape, width]."""
    # Where a table is not float32, XLA would convert all of it, once, ahead of the gathers that
    # share it. The barrier ties it to what this one gathers.
    values, rows, start = jax.lax.optimization_barrier((values, rows, jnp.int32(first)))
    start = jnp.stack([rows, jnp.broadcast_to(start, rows.shape)], axis=-1)
    dimensions = jax.lax.GatherDimensionNumbers(
        offset_dims=(rows.ndim,), collapsed_slice_dims=(0,), start_index_map=(0, 1)
    )
    found = jax.lax.gather(
        values, start, dimensions, (1, width), mode=jax.lax.GatherScatterMode.PROMISE_IN_BOUNDS
    )
    return bits.decode(found)
