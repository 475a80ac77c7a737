"""The weighted row sum for any XLA backend, one read of every token at a time.

XLA materialises the [tokens, k, value_dim] rows of the plain form. Here the sum over k is unrolled,
so that each gather makes [tokens, value_dim] and is added at once; backwards it is a loop. Indices
have to be in range: they are not checked under `jit`, and a gather out of range reads anything.
"""

import jax
import jax.numpy as jnp


@jax.custom_vjp
def lookup(values: jax.Array, indices: jax.Array, weights: jax.Array) -> jax.Array:
    """sum_k weights[..., k] * values[indices[..., k]], in float32: [..., value_dim]."""
    batch_shape, reads = indices.shape[:-1], indices.shape[-1]
    flat_indices = indices.reshape(-1, reads)
    flat_weights = weights.reshape(-1, reads).astype(jnp.float32)
    total = jnp.zeros((flat_indices.shape[0], values.shape[1]), jnp.float32)
    for k in range(reads):
        total += flat_weights[:, k, None] * _rows(values, flat_indices[:, k])
    return total.reshape(*batch_shape, values.shape[1])


def _rows(values: jax.Array, indices: jax.Array) -> jax.Array:
    return values.at[indices].get(mode="promise_in_bounds").astype(jnp.float32)


def _forward(values, indices, weights):
    return lookup(values, indices, weights), (values, indices, weights)


def _backward(saved, cotangent):
    values, indices, weights = saved
    reads = indices.shape[-1]
    flat_indices = indices.reshape(-1, reads)
    flat_weights = weights.reshape(-1, reads).astype(jnp.float32)
    cotangent = cotangent.reshape(-1, values.shape[1]).astype(jnp.float32)

    def one_read(values_grad, read):
        rows, row_weights = read
        added = row_weights[:, None] * cotangent
        values_grad = values_grad.at[rows].add(added, mode="promise_in_bounds")
        return values_grad, jnp.sum(cotangent * _rows(values, rows), axis=-1)

    # A loop, since XLA schedules the gathers of an unrolled sum all at once here. Whichever of the
    # two gradients nobody asks for is removed when the caller is compiled.
    start = jnp.zeros(values.shape, jnp.float32)
    values_grad, weights_grad = jax.lax.scan(one_read, start, (flat_indices.T, flat_weights.T))
    return (
        values_grad.astype(values.dtype),
        None,
        weights_grad.T.reshape(weights.shape).astype(weights.dtype),
    )


lookup.defvjp(_forward, _backward)
