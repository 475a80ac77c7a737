"""A table of bfloat16 kept as its bits, uint16, for training on a CPU.

XLA's CPU backend has no writing of bfloat16 rows: it converts the whole table to float32 and back
for it, in every step. Rows of uint16 it writes in place, and the numbers are the same. `lookup`,
`lookup_with_delta` and the row optimizers take such tables like those of bfloat16.
"""

import jax
import jax.numpy as jnp


def encode(values: jax.Array) -> jax.Array:
    """The bits uint16 of floating values, rounded to bfloat16 where they are not."""
    return jax.lax.bitcast_convert_type(values.astype(jnp.bfloat16), jnp.uint16)


def decode(values: jax.Array) -> jax.Array:
    """float32 of bits uint16, or of any floating values."""
    if values.dtype != jnp.uint16:
        return values.astype(jnp.float32)
    # bfloat16 is the upper half of float32.
    return jax.lax.bitcast_convert_type(values.astype(jnp.uint32) << 16, jnp.float32)


def encode_like(values: jax.Array, table: jax.Array) -> jax.Array:
    """float32 `values` in the dtype of a table, as bits if that holds bits."""
    return encode(values) if table.dtype == jnp.uint16 else values.astype(table.dtype)
