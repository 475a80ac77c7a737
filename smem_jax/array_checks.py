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
    converted = jnp.asarray(array)
    if converted.dtype != array.dtype and (np.asarray(converted) != array).any():
        raise InputError(f"{name} of shape {array.shape} has values beyond {converted.dtype}")
    return converted


def indices_below(name: str, indices: ArrayLike, limit: int) -> jax.Array:
    """The integers, if there are any and all concrete ones are in [0, limit)."""
    indices = integers(name, indices)
    if indices.size == 0:
        raise InputError(f"{name} has shape {indices.shape}; at least one entry is right")
    if is_concrete(indices):
        low, high = int(indices.min()), int(indices.max())
        if low < 0 or high >= limit:
            raise InputError(
                f"{name} of shape {indices.shape} ranges from {low} to {high}; "
                f"0 to {limit - 1} is right"
            )
    return indices


def same_shape(name: str, array: ArrayLike, other: ArrayLike) -> jax.Array:
    """The array, if it has the shape of `other`."""
    if jnp.shape(array) != jnp.shape(other):
        raise InputError(f"{name} has shape {jnp.shape(array)}; {jnp.shape(other)} is right")
    return jnp.asarray(array)


def no_nan(name: str, array: ArrayLike) -> jax.Array:
    """The array, if no concrete value of it is NaN."""
    array = jnp.asarray(array)
    if is_concrete(array) and jnp.isnan(array).any():
        raise InputError(f"{name} of shape {array.shape} has NaN; real numbers are right")
    return array
