"""The weighted row sum of a memory layer, dense and for chosen rows."""

from typing import Literal, get_args

import jax
import jax.numpy as jnp

from smem_jax.array_checks import indices_below
from smem_jax.errors import InputError
from smem_jax.kernels.lookup import base, xla

Implementation = Literal["base", "xla"]


def lookup(
    values: jax.Array,
    indices: jax.Array,
    weights: jax.Array,
    implementation: Implementation | None = None,
) -> jax.Array:
    """sum_k weights[..., k] * values[indices[..., k]].

    Computes in float32 whatever the storage type, and has gradients for `values` (dense) and
    `weights`.

    Args:
      values: [num_slots, value_dim], any floating dtype.
      indices: integers [..., k] in [0, num_slots). Out of range they are refused where concrete;
        when traced, what they read is undefined.
      weights: [..., k], any floating dtype.
      implementation: 'base' (the plain form, which makes [..., k, value_dim]) or 'xla' (which does
        not, for any backend); None takes the best for the platform.

    Returns:
      float32 [..., value_dim].

    Raises:
      InputError: for ranks, dtypes or shapes that do not fit, and indices out of range.
    """
    if jnp.ndim(values) != 2 or not jnp.issubdtype(values.dtype, jnp.floating):
        raise InputError(
            f"values is {values.dtype} of shape {values.shape}; floating [num_slots, value_dim] is "
            "right"
        )
    indices = indices_below("indices", indices, values.shape[0])
    if jnp.shape(weights) != indices.shape or indices.ndim < 1:
        raise InputError(
            f"weights has shape {jnp.shape(weights)}, indices {indices.shape}; "
            "both [..., k] is right"
        )
    if implementation not in (None, *get_args(Implementation)):
        raise InputError(
            f"implementation={implementation!r}; one of {get_args(Implementation)} or None is right"
        )
    function = base.lookup if implementation == "base" else xla.lookup
    return function(values, indices, weights)


def lookup_with_delta(
    values: jax.Array,
    delta: jax.Array,
    slots: jax.Array,
    indices: jax.Array,
    weights: jax.Array,
    implementation: Implementation | None = None,
) -> jax.Array:
    """`lookup` as if `delta[i]` had been added to row `slots[i]` of `values`, which stays constant.

    The gradient for `delta` is that of the chosen rows of the table, so nothing of the size of the
    table is made: the row-sparse form of sparse memory finetuning. `weights` has a gradient, too.

    Args:
      values: [num_slots, value_dim], any floating dtype.
      delta: float32 [top_t, value_dim].
      slots: int32 [top_t], ascending and distinct; entries of num_slots or more stand for nothing.
      indices: integers [..., k] in [0, num_slots).
      weights: [..., k].
      implementation: as for `lookup`.

    Returns:
      float32 [..., value_dim].
    """
    places = jnp.searchsorted(slots, indices)
    places = jnp.minimum(places, slots.shape[0] - 1).astype(jnp.int32)
    chosen = slots[places] == indices
    return lookup(jax.lax.stop_gradient(values), indices, weights, implementation) + lookup(
        delta, places, jnp.where(chosen, weights, 0), implementation
    )
