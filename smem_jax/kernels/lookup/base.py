"""The plain form, which defines the meaning and is differentiated by JAX itself."""

import jax
import jax.numpy as jnp


def lookup(values: jax.Array, indices: jax.Array, weights: jax.Array) -> jax.Array:
    """sum_k weights[..., k] * values[indices[..., k]], in float32: [..., value_dim].

    Makes the whole [..., k, value_dim] array of rows.
    """
    rows = values[indices].astype(jnp.float32)
    return jnp.einsum("...k,...kd->...d", weights.astype(jnp.float32), rows)
