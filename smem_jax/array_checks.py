"""Checks of array arguments: shapes and dtypes always, values only where they are concrete.

A traced value cannot raise, so these do nothing about values under `jax.jit`. All raise
`InputError` with the name of the argument, its shape, and what would be right.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from smem_jax.errors import InputError


def is_concrete(*arrays: Any) -> bool:
    """Whether all values are at hand, so that they can be checked."""
    return not any(isinstance(array, jax.core.Tracer) for array in arrays)


def check_size(name: str, size: int) -> None:
    """Raises InputError unless `size` is an integer of at least 1."""
    if not isinstance(size, (int, np.integer)) or isinstance(size, bool) or size < 1:
        raise InputError(f"{name}={size}; an integer of at least 1 is right")


def integers(name: str, array: ArrayLike, ndim: int | None = None) -> jax.Array:
    """The array, if it has an integer dtype, the rank `ndim` and values that JAX can hold."""
    array = array if isinstance(array, jax.Array) else np.asarray(array)
    if not jnp.issubdtype(array.dtype, jnp.integer) or ndim not in (None, array.ndim):
        rank = "" if ndim is None else f" of rank {ndim}"
        raise InputError(
            f"{name} is {array.dtype} of shape {array.shape}; integers{rank} are right"
        )
    dtype = jax.dtypes.canonicalize_dtype(array.dtype)
    if dtype != array.dtype and array.size:
        bounds = jnp.iinfo(dtype)
        if array.min() < bounds.min or array.max() > bounds.max:
            raise InputError(f"{name} of shape {array.shape} has values beyond {dtype}")
    return jnp.asarray(array)


def indices_below(name: str, indices: ArrayLike, limit: int) -> jax.Array:
    """The integers, if there are any and all concrete ones are in [0, limit)."""
    indices = integers(name, indices)
    if indices.size == 0:
        raise InputError(f"{name} has shape {indices.shape}; at least one entry is right")
    if is_concrete(indices):
        with jax.ensure_compile_time_eval():  # it may be closed over by something that is traced
            low, high = int(indices.min()), int(indices.max())
        if low < 0 or high >= limit:
            raise InputError(
                f"{name} of shape {indices.shape} ranges from {low} to {high}; "
                f"0 to {limit - 1} is right"
            )
    return indices


def same_shape(name: str, array: ArrayLike, other: ArrayLike) -> jax.Array:
    """The array, if it has the shape of `other` and a real dtype."""
    if np.shape(array) != np.shape(other):
        raise InputError(f"{name} has shape {np.shape(array)}; {np.shape(other)} is right")
    return _real(name, array)


def no_nan(name: str, array: ArrayLike) -> jax.Array:
    """The array, if its dtype is a real one and no concrete value of it is NaN."""
    array = _real(name, array)
    with jax.ensure_compile_time_eval():
        if is_concrete(array) and jnp.isnan(array).any():
            raise InputError(f"{name} of shape {array.shape} has NaN; real numbers are right")
    return array


def not_negative(name: str, array: ArrayLike) -> jax.Array:
    """The array, if no concrete value of it is NaN or below 0."""
    array = no_nan(name, array)
    with jax.ensure_compile_time_eval():
        if is_concrete(array) and array.size and array.min() < 0:
            raise InputError(f"{name} of shape {array.shape} has {array.min()}; 0 or more is right")
    return array


def unsharded(array: jax.Array) -> jax.Array:
    """The whole array on each device of an explicit mesh, where sharded axes cannot be sorted.

    On meshes with automatic axes the compiler moves what has to be moved.
    """
    sharding = jax.typeof(array).sharding
    if not any(sharding.spec):
        return array
    return jax.sharding.reshard(array, jax.NamedSharding(sharding.mesh, jax.P()))


def _real(name: str, array: ArrayLike) -> jax.Array:
    array = array if isinstance(array, jax.Array) else np.asarray(array)
    if not any(jnp.issubdtype(array.dtype, kind) for kind in (np.integer, np.floating, np.bool_)):
        raise InputError(f"{name} is {array.dtype} of shape {array.shape}; real numbers are right")
    return jnp.asarray(array)
