"""The weighted sum of table rows that every memory layer performs."""

from smem_jax.kernels.lookup.api import lookup, lookup_with_delta

__all__ = ["lookup", "lookup_with_delta"]
