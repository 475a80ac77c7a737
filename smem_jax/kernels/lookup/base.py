"""The three operations of a lookup in plain jnp, which defines what they mean.

The first two make the whole [tokens, reads, value_dim] array of rows. Products are of float32 on
every platform, where by default some take fewer bits.
"""

import jax
import jax.numpy as jnp

from smem_jax import bits


def weighted_sum(values: jax.Array, indices: jax.Array, weights: jax.Array) -> jax.Array:
    """sum_k weights[t, k] * values[indices[t, k]], in float32.

    Args:
      values: [num_slots, value_dim], any floating dtype or `smem_jax.bits`; which of them the
        kernels read is for their `unsupported` to say.
      indices: int32 [tokens, reads] in [0, num_slots).
      weights: float32 [tokens, reads].

    Returns:
      float32 [tokens, value_dim].
    """
    return jnp.einsum("tk,tkd->td", weights, bits.decode(values[indices]), precision="highest")


def weights_gradient(values: jax.Array, indices: jax.Array, cotangent: jax.Array) -> jax.Array:
    """The dot product of cotangent[t] and values[indices[t, k]], in float32.

    Args:
      values: as for `weighted_sum`.
      indices: as for `weighted_sum`.
      cotangent: float32 [tokens, value_dim].

    Returns:
      float32 [tokens, reads].
    """
    return jnp.einsum("td,tkd->tk", cotangent, bits.decode(values[indices]), precision="highest")


def rows_gradient(
    places: jax.Array, weights: jax.Array, cotangent: jax.Array, num_rows: int
) -> jax.Array:
    """Row r is the sum of weights[t, k] * cotangent[t] over the reads with places[t, k] == r.

    Args:
      places: int32 [tokens, reads] in [0, num_rows]; num_rows for a read that counts for nothing.
      weights: float32 [tokens, reads].
      cotangent: float32 [tokens, value_dim].
      num_rows: of the result.

    Returns:
      float32 [num_rows, value_dim], zero where a row has no read.
    """
    rows = jnp.zeros((num_rows, cotangent.shape[1]), jnp.float32)
    return rows.at[places].add(weights[..., None] * cotangent[:, None], mode="drop")
