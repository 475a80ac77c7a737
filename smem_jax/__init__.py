"""Continual learning by sparse memory finetuning, in JAX.

`smem_jax.load` gives a model to teach and to ask (`smem_jax.api`); `smem_jax.optim` has the optax
transformation, which needs nothing but jax and optax.
"""

from typing import Any

__version__ = "0.1.0"
__all__ = ["load"]


def __getattr__(name: str) -> Any:
    """`load`, imported when it is first asked for: the parts of the package stay light."""
    if name == "load":
        from smem_jax.api import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
