"""Continual learning by sparse memory finetuning, in JAX."""

__version__ = "0.1.0"
