"""Optax transformations for sparse memory finetuning; needs nothing but JAX and optax."""

from smem_jax.optim.top_slots import MaskByTopSlotsState, mask_by_top_slots

__all__ = ["MaskByTopSlotsState", "mask_by_top_slots"]
