"""The weighted row sum of a memory layer, dense and for chosen rows."""

import jax
import jax.numpy as jnp

from smem_jax.array_checks import indices_below, no_nan
from smem_jax.errors import InputError
from smem_jax.kernels.lookup import autodiff, backends, sharded
from smem_jax.kernels.lookup.backends import Implementation
from smem_jax.table_layout import TableLayout


def lookup(
    values: jax.Array,
    indices: jax.Array,
    weights: jax.Array,
    implementation: Implementation | None = None,
    layout: TableLayout | None = None,
) -> jax.Array:
    """sum_k weights[..., k] * values[indices[..., k]].

    Computes in float32 whatever the storage type, and has gradients for `values` (dense) and
    `weights`, in reverse mode. No backend but 'base' makes the [..., k, value_dim] array of rows.

    Args:
      values: [num_slots, value_dim], any floating dtype, or uint16 of `smem_jax.bits`.
      indices: integers [..., k] in [0, num_slots). Out of range they are refused where concrete;
        when traced, what they read is undefined.
      weights: [..., k], any floating dtype.
      implementation: None takes the best for the platform and falls back, with a logged reason, to
        'xla', which runs anywhere. A name forces one: 'base' (the plain form), 'xla',
        'pallas_triton' (NVIDIA, Ampere and later), 'pallas_mosaic_gpu' (Hopper and later),
        'pallas_mosaic_tpu' or 'pallas_sparsecore' (TPU v5p, v6e and 7x).
      layout: how the table and the tokens lie on the current mesh (`jax.set_mesh`), whose axes are
        automatic: every device then runs the implementation on its part, and they exchange reads
        and sums, see `smem_jax.kernels.lookup.sharded`. None leaves what is sharded to the
        compiler, which cannot partition Pallas kernels.

    Returns:
      float32 [..., value_dim].

    Raises:
      InputError: for ranks, dtypes or shapes that do not fit, indices out of range, and a forced
        implementation that cannot run these (whether this machine has its hardware is not asked,
        since a program may be made for another).
    """
    indices = _checked(values, indices, weights)
    run = _operations(implementation, layout, values, indices)
    flat = _flat(indices, weights)
    summed = autodiff.lookup(run, values, *flat)
    return summed.reshape(*indices.shape[:-1], values.shape[1])


def lookup_with_delta(
    values: jax.Array,
    delta: jax.Array,
    places: jax.Array,
    indices: jax.Array,
    weights: jax.Array,
    implementation: Implementation | None = None,
    layout: TableLayout | None = None,
) -> jax.Array:
    """`lookup` as if `delta` had been added to chosen rows of `values`, which stays constant.

    The gradient for `delta` is that of the chosen rows, so nothing of the size of the table is
    made: the row-sparse form of sparse memory finetuning. `weights` has a gradient, too. At a delta
    of zeros, where training differentiates, no second pass over the reads is made.

    Args:
      values: [num_slots, value_dim], as for `lookup`.
      delta: float32 [top_t, value_dim].
      places: integers [..., k] in [0, top_t], which row of `delta` each read has; top_t for a read
        of a slot that is not chosen. `smem_jax.slots.places` gives them.
      indices: integers [..., k] in [0, num_slots).
      weights: [..., k].
      implementation: as for `lookup`.
      layout: as for `lookup`; `delta` is split by columns only.

    Returns:
      float32 [..., value_dim].

    Raises:
      InputError: as for `lookup`, and for a delta or places that do not fit.
    """
    indices = _checked(values, indices, weights)
    fits = jnp.ndim(delta) == 2 and delta.shape[0] and delta.shape[1] == values.shape[1]
    if not fits or delta.dtype != jnp.float32:
        raise InputError(
            f"delta is {delta.dtype} of shape {delta.shape}; float32 [top_t, {values.shape[1]}] is "
            "right"
        )
    places = indices_below("places", places, delta.shape[0] + 1)
    if places.shape != indices.shape:
        raise InputError(
            f"places has shape {places.shape}; that of indices, {indices.shape}, is right"
        )
    run = _operations(implementation, layout, values, indices)
    flat_indices, flat_weights = _flat(indices, weights)
    flat_places = places.reshape(flat_indices.shape).astype(jnp.int32)
    summed = autodiff.lookup_with_delta(run, values, delta, flat_places, flat_indices, flat_weights)
    return summed.reshape(*indices.shape[:-1], values.shape[1])


def _checked(values, indices, weights) -> jax.Array:
    """The indices, if all three fit each other."""
    is_number = jnp.issubdtype(values.dtype, jnp.floating) or values.dtype == jnp.uint16
    if jnp.ndim(values) != 2 or not is_number:
        raise InputError(
            f"values is {values.dtype} of shape {values.shape}; floating [num_slots, value_dim] "
            "(or uint16, of smem_jax.bits) is right"
        )
    indices = indices_below("indices", indices, values.shape[0])
    if jnp.shape(weights) != indices.shape or indices.ndim < 1:
        raise InputError(
            f"weights has shape {jnp.shape(weights)}, indices {indices.shape}; "
            "both [..., k] is right"
        )
    if not jnp.issubdtype(jnp.result_type(weights), jnp.floating):
        raise InputError(f"weights is {weights.dtype}; a floating dtype is right")
    no_nan("weights", weights)
    return indices


def _operations(
    implementation, layout: TableLayout | None, values: jax.Array, indices: jax.Array
) -> backends.Operations:
    if layout is not None:
        return sharded.operations(layout, values.shape[0], implementation)
    reads = indices.shape[-1]
    return backends.choose(implementation, values, indices.size // reads, reads)


def _flat(indices: jax.Array, weights: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Both as [tokens, k], int32 and float32."""
    shape = (-1, indices.shape[-1])
    weights = jnp.asarray(weights, jnp.float32)
    return indices.reshape(shape).astype(jnp.int32), weights.reshape(shape)
