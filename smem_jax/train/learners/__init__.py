"""The ways to learn that a stream compares: sparse memory finetuning and what it is measured by."""

from smem_jax.train.learners.api import (
    METHODS,
    Learner,
    check,
    check_memory,
    make,
    needs_memory,
)

__all__ = ["METHODS", "Learner", "check", "check_memory", "make", "needs_memory"]
