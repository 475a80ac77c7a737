"""Sizes of a Llama-architecture decoder."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class RopeScaling:
    """How rotary frequencies are stretched beyond the trained length.

    `kind` is 'linear' (every frequency divided by `factor`) or 'llama3' (low frequencies divided,
    high ones kept, a ramp between them), as in the `rope_scaling` field of a Hugging Face config.
    """

    kind: str
    factor: float
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_positions: int = 8192

    def __post_init__(self):
        if self.kind not in ("linear", "llama3"):
            raise ValueError(
                f"rope scaling {self.kind!r} is not supported; use 'linear' or 'llama3'"
            )
        if self.factor < 1:
            raise ValueError(f"rope scaling factor={self.factor} must be at least 1")


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Sizes of a decoder-only transformer of the Llama family (RMSNorm, RoPE, SwiGLU, GQA).

    `params_dtype` is how weights are stored, `compute_dtype` what the activations are and what
    matrices are multiplied in: 'float32' or 'bfloat16'.
    """

    vocab_size: int
    num_blocks: int
    embed_dim: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    ffn_dim: int
    rope_base: float = 10_000.0
    rope_scaling: RopeScaling | None = None
    norm_epsilon: float = 1e-5
    tied_embeddings: bool = True
    max_positions: int = 2048
    params_dtype: str = "float32"
    compute_dtype: str = "float32"

    def __post_init__(self):
        if self.num_heads % self.num_kv_heads:
            raise ValueError(
                f"num_heads={self.num_heads} is not a multiple of num_kv_heads={self.num_kv_heads}"
            )
        if self.head_dim % 2:
            raise ValueError(f"head_dim={self.head_dim} must be even for rotary embeddings")
        for name in ("params_dtype", "compute_dtype"):
            if getattr(self, name) not in ("float32", "bfloat16"):
                raise ValueError(f"{name}={getattr(self, name)!r} must be 'float32' or 'bfloat16'")
