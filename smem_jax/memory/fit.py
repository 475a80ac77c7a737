"""Queries and sub-keys fitted to hidden states, so that slots are used evenly without training.

Random queries of a pretrained model's hidden states point mostly one way, and most reads go to a
few 'hub' slots. So the queries whiten the hidden state and rotate it at random, differently in each
head, and spherical k-means places the sub-keys of each half where its queries are.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from smem_jax.errors import InputError
from smem_jax.memory.layer import MemoryLayer

# Directions whose variance is below this share of the mean variance are not blown up to 1.
_VARIANCE_FLOOR = 1e-3


def fit(layer: MemoryLayer, hidden: jax.Array, key: jax.Array, num_iterations: int = 10) -> None:
    """Sets the query projection and the sub-keys of `layer`, in place.

    Args:
      layer: meant to have normalised queries and keys; without, the same sub-keys (of length 1) are
        set, which rank slots alike but spread the weights differently.
      hidden: [num_tokens, input_dim], what the layer will read, of text like that to come. At least
        as many tokens as a half has sub-keys.
      key: a random key from jax.random.key.
      num_iterations: passes of k-means.

    Raises:
      InputError: for fewer tokens than sub-keys, another width, or a key_dim above input_dim.
    """
    c = layer.config
    if hidden.ndim != 2 or hidden.shape[1] != c.input_dim or len(hidden) < c.num_sub_keys:
        raise InputError(
            f"hidden has shape {hidden.shape}; [num_tokens, {c.input_dim}] with at least "
            f"{c.num_sub_keys} tokens, one for each sub-key, is right"
        )
    if c.key_dim > c.input_dim:
        raise InputError(f"key_dim={c.key_dim} exceeds the hidden width input_dim={c.input_dim}")
    rotation_key, means_key = jax.random.split(key)
    mean, whitening = _whitening(hidden)
    rotations = [
        jax.random.orthogonal(head_key, c.input_dim)[:, : c.key_dim]
        for head_key in jax.random.split(rotation_key, c.num_heads)
    ]
    kernel = whitening @ jnp.concatenate(rotations, axis=1)
    layer.query.kernel[...] = kernel
    assert layer.query.bias is not None  # for the type checker: a MemoryLayer gives it one
    layer.query.bias[...] = -mean @ kernel
    halves = layer.query(hidden).reshape(-1, c.num_heads * 2, c.key_dim // 2)
    points = jnp.swapaxes(halves / jnp.linalg.norm(halves, axis=-1, keepdims=True), 0, 1)
    keys = jax.random.split(means_key, len(points))
    # One half after another: its [num_tokens, num_sub_keys] scores are the largest array made.
    centres = jax.lax.map(
        lambda half: spherical_k_means(*half, c.num_sub_keys, num_iterations), (points, keys)
    )
    layer.sub_keys[...] = centres.reshape(layer.sub_keys.shape)


@partial(jax.jit, static_argnames=("num_centres", "num_iterations"))
def spherical_k_means(
    points: jax.Array, key: jax.Array, num_centres: int, num_iterations: int
) -> jax.Array:
    """Centres of length 1, [num_centres, dim], of points of length 1, [num_points, dim].

    A centre that no point is nearest to moves to a random point.
    """
    start_key, *keys = jax.random.split(key, num_iterations + 1)
    start = jax.random.choice(start_key, points, (num_centres,), replace=False)

    def one_pass(centres: jax.Array, pass_key: jax.Array) -> tuple[jax.Array, None]:
        nearest = jnp.argmax(points @ centres.T, axis=-1)
        sums = jax.ops.segment_sum(points, nearest, num_centres)
        norms = jnp.linalg.norm(sums, axis=-1, keepdims=True)
        spare = jax.random.choice(pass_key, points, (num_centres,))
        return jnp.where(norms > 1e-6, sums / jnp.maximum(norms, 1e-6), spare), None

    return jax.lax.scan(one_pass, start, jnp.stack(keys))[0]


def slot_use(counts: np.ndarray) -> tuple[float, float]:
    """How evenly slots are used: the share read at all, and the perplexity of the reads.

    The perplexity is exp of the entropy of the reads over slots: `num_slots` when all are read
    equally, 1 when a single slot takes every read.

    Args:
      counts: reads of each slot, [num_slots], at least one of them above 0.
    """
    counts = np.asarray(counts, np.float64)
    if not counts.sum() > 0:
        raise InputError(f"counts of shape {counts.shape} has no read; at least one is right")
    shares = counts[counts > 0] / counts.sum()
    return float(np.mean(counts > 0)), float(np.exp(-np.sum(shares * np.log(shares))))


@jax.jit
def _whitening(hidden: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The mean, and the symmetric map that gives (hidden - mean) the covariance of the identity."""
    mean = jnp.mean(hidden, axis=0)
    covariance = jnp.cov(hidden, rowvar=False)
    variances, axes = jnp.linalg.eigh(covariance)
    floored = jnp.maximum(variances, _VARIANCE_FLOOR * jnp.mean(variances))
    return mean, (axes * floored**-0.5) @ axes.T
