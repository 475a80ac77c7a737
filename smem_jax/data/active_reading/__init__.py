"""Many ways to study one document: augmentations in the manner of Active Reading.

Source: 'Learning Facts at Scale with Active Reading' (arXiv 2508.09494). `BuiltIn` writes them by
rule; `Endpoint` has a language model write them, behind an OpenAI-compatible endpoint.
"""

from smem_jax.data.active_reading.augmenter import Augmenter, QuestionAnswer
from smem_jax.data.active_reading.builtin import BuiltIn
from smem_jax.data.active_reading.endpoint import Endpoint

__all__ = ["Augmenter", "BuiltIn", "Endpoint", "QuestionAnswer"]
