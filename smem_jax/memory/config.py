"""Sizes and options of a memory layer."""

import dataclasses
import math

from smem_jax.errors import InputError

_STORAGE = ("float32", "bfloat16")


@dataclasses.dataclass(frozen=True)
class MemoryConfig:
    """Sizes and options of a memory layer.

    Attributes:
      input_dim: width of the hidden state that is read.
      output_dim: width of the output.
      num_slots: rows of the value table, a square: n * n for n sub-keys a half.
      num_heads: independent searches, which share the values.
      top_k: reads per head, at most n.
      key_dim: width of a query of one head, even.
      value_dim: width of a value row; `output_dim` when None. Only with `output_projection` may the
        two differ.
      gate: multiply the sum of rows by silu(x Wg + bg).
      output_projection: apply Wo and bo at the end.
      normalize_queries: scale each half of a query to length 1.
      normalize_keys: scale each sub-key to length 1.
      score_scale: factor of the scores before the softmax; with both normalised, 1 / temperature.
      values_dtype: storage of the value table, 'float32' or 'bfloat16'; sums are in float32.
    """

    input_dim: int
    output_dim: int
    num_slots: int = 2**20
    num_heads: int = 4
    top_k: int = 32
    key_dim: int = 512
    value_dim: int | None = None
    gate: bool = True
    output_projection: bool = True
    normalize_queries: bool = False
    normalize_keys: bool = False
    score_scale: float = 1.0
    values_dtype: str = "float32"

    def __post_init__(self):
        root = math.isqrt(max(self.num_slots, 0))
        if root < 1 or root * root != self.num_slots:
            near = max(round(max(self.num_slots, 1) ** 0.5), 1) ** 2
            raise InputError(f"num_slots={self.num_slots} must be a square number, such as {near}")
        if not 1 <= self.top_k <= root:
            raise InputError(
                f"top_k={self.top_k} must be from 1 to {root}, the root of "
                f"num_slots={self.num_slots}"
            )
        if self.key_dim < 2 or self.key_dim % 2:
            raise InputError(f"key_dim={self.key_dim} must be even and at least 2")
        if not self.score_scale > 0:
            raise InputError(f"score_scale={self.score_scale} must be above 0")
        if self.row_dim < 1:
            raise InputError(f"value_dim={self.row_dim} must be at least 1")
        if self.num_heads < 1:
            raise InputError(f"num_heads={self.num_heads} must be at least 1")
        if self.row_dim != self.output_dim and not self.output_projection:
            raise InputError(
                f"value_dim={self.value_dim} must be output_dim={self.output_dim} without an "
                "output projection"
            )
        if self.values_dtype not in _STORAGE:
            raise InputError(f"values_dtype={self.values_dtype!r} must be one of {_STORAGE}")

    @property
    def num_sub_keys(self) -> int:
        """Sub-keys of one half of one head: the square root of `num_slots`."""
        return math.isqrt(self.num_slots)

    @property
    def row_dim(self) -> int:
        """Width of a value row."""
        return self.output_dim if self.value_dim is None else self.value_dim
