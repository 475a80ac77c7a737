"""Pretrained checkpoints of the Llama architecture, read without PyTorch.

`load` takes a GGUF file, a Hugging Face directory or a file inside an installed Python package, and
returns the same thing for each: sizes, float32 weights under their Hugging Face names, tokenizer.
"""

from smem_jax.models.pretrained.fingerprint import fingerprint
from smem_jax.models.pretrained.loader import SMOLLM2, Pretrained, load
from smem_jax.models.pretrained.tokenizer import Tokenizer

__all__ = ["SMOLLM2", "Pretrained", "Tokenizer", "fingerprint", "load"]
