"""How the lookup is differentiated, put together of the three operations of a backend.

Only the gradients that somebody asks for are computed: whether an argument is differentiated at all
is known when the forward pass is traced.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero

from smem_jax.kernels.lookup.backends import Operations


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def lookup(run: Operations, values: jax.Array, indices: jax.Array, weights: jax.Array) -> jax.Array:
    """The weighted sum float32 [tokens, value_dim], with gradients for `values` and `weights`."""
    return run.weighted_sum(values, indices, weights)


def _lookup_forward(run, values, indices, weights):
    arrays = values.value, indices.value, weights.value
    return lookup(run, *arrays), (arrays, _wanted(values), _wanted(weights))


def _lookup_backward(run, saved, cotangent):
    (values, indices, weights), wants_values, wants_weights = saved
    cotangent = _materialized(cotangent)
    values_gradient = weights_gradient = None
    if wants_values is not None:
        values_gradient = run.rows_gradient(indices, weights, cotangent, values.shape[0])
        values_gradient = values_gradient.astype(values.dtype)
    if wants_weights is not None:
        weights_gradient = run.weights_gradient(values, indices, cotangent)
    return values_gradient, _no_gradient(indices), weights_gradient


lookup.defvjp(_lookup_forward, _lookup_backward, symbolic_zeros=True)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def lookup_with_delta(
    run: Operations,
    values: jax.Array,
    delta: jax.Array,
    places: jax.Array,
    indices: jax.Array,
    weights: jax.Array,
) -> jax.Array:
    """The same as if `delta` were added to chosen rows; with gradients for it and `weights`."""

    def of_delta():
        return run.weighted_sum(delta, *_within(places, weights, delta.shape[0]))

    total = run.weighted_sum(values, indices, weights)
    # Training differentiates at a delta of zeros, which takes no second pass over the reads.
    return total + jax.lax.cond(jnp.any(delta != 0), of_delta, lambda: jnp.zeros_like(total))


def _delta_forward(run, *arguments):
    arrays = tuple(argument.value for argument in arguments)
    _, delta, _, _, weights = arguments
    return lookup_with_delta(run, *arrays), (arrays, _wanted(delta), _wanted(weights))


def _delta_backward(run, saved, cotangent):
    (values, delta, places, indices, weights), wants_delta, wants_weights = saved
    cotangent = _materialized(cotangent)
    delta_gradient = weights_gradient = None
    if wants_delta is not None:
        delta_gradient = run.rows_gradient(places, weights, cotangent, delta.shape[0])
    if wants_weights is not None:
        weights_gradient = run.weights_gradient(values, indices, cotangent)

        def of_delta():
            rows, chosen = _within(places, jnp.ones_like(weights), delta.shape[0])
            return chosen * run.weights_gradient(delta, rows, cotangent)

        weights_gradient += jax.lax.cond(
            jnp.any(delta != 0), of_delta, lambda: jnp.zeros_like(weights_gradient)
        )
    if delta_gradient is not None and weights_gradient is not None:
        delta_gradient *= _one_after(weights_gradient)
    return None, delta_gradient, _no_gradient(places), _no_gradient(indices), weights_gradient


lookup_with_delta.defvjp(_delta_forward, _delta_backward, symbolic_zeros=True)


def _one_after(array: jax.Array) -> jax.Array:
    """1.0, but not before `array` has been computed.

    So that the update of the rows, which is written into the buffer of the table, waits for all
    that is read from there: XLA would order the two by a copy of the table. A barrier is gone by
    the time that it does so.
    """
    sign = jax.lax.bitcast_convert_type(array[0, 0], jnp.uint32) >> 31
    return jnp.minimum(1 + sign, 1).astype(jnp.float32)


def _wanted(argument: Any) -> tuple[()] | None:
    """A static yes or no, in a form that a residual may have: a tree without leaves."""
    return () if argument.perturbed else None


def _materialized(cotangent: Any) -> jax.Array:
    if isinstance(cotangent, SymbolicZero):
        return jnp.zeros(cotangent.shape, cotangent.dtype)
    return cotangent


def _within(places: jax.Array, weights: jax.Array, top_t: int) -> tuple[jax.Array, jax.Array]:
    """Places that exist, and weights that are 0 where the read was of no chosen row."""
    return jnp.minimum(places, top_t - 1), jnp.where(places < top_t, weights, 0)


def _no_gradient(integers: jax.Array) -> np.ndarray:
    return np.zeros(integers.shape, jax.dtypes.float0)
