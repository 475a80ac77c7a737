"""What reads the slots that a fact trains: its tokens, its paraphrases, other facts, prose."""

from smem_jax.explain.explain import explain

__all__ = ["explain"]
