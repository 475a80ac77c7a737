"""Rotary position embeddings in the rotate-half form of the Hugging Face Llama code."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from smem_jax.models.config import ModelConfig, RopeScaling


def frequencies(config: ModelConfig) -> np.ndarray:
    """Angular frequencies in radians per position, float32 [head_dim / 2] (RoFormer, eq. 15)."""
    exponents = np.arange(0, config.head_dim, 2, dtype=np.float64) / config.head_dim
    freqs = config.rope_base**-exponents
    if config.rope_scaling is not None:
        freqs = _scale(freqs, config.rope_scaling)
    return freqs.astype(np.float32)


def _scale(freqs: np.ndarray, scaling: RopeScaling) -> np.ndarray:
    if scaling.kind == "linear":
        return freqs / scaling.factor
    # Llama 3: turns made within the original context decide how far a frequency is slowed down.
    turns = scaling.original_max_positions * freqs / (2 * math.pi)
    span = scaling.high_freq_factor - scaling.low_freq_factor
    kept = np.clip((turns - scaling.low_freq_factor) / span, 0.0, 1.0)
    return freqs * (kept + (1 - kept) / scaling.factor)


def to_rotate_half(weight: np.ndarray, head_dim: int) -> np.ndarray:
    """Undoes the row order that pairs neighbours, as interleaved RoPE wants: [heads * d, in]."""
    pairs = weight.reshape(-1, head_dim // 2, 2, weight.shape[-1])  # [heads, d / 2, 2, in]
    return pairs.swapaxes(1, 2).reshape(weight.shape)


def rotate(x: jax.Array, positions: jax.Array, freqs: np.ndarray) -> jax.Array:
    """Rotates `x` [batch, seq, heads, head_dim] by `positions` int32 [batch, seq]; same dtype."""
    angles = positions[..., None].astype(jnp.float32) * freqs  # [batch, seq, head_dim / 2]
    cos = jnp.cos(angles)[:, :, None]
    sin = jnp.sin(angles)[:, :, None]
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    rotated = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return rotated.astype(x.dtype)
