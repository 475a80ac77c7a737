"""The World Factbook as documents to teach: profiles, their chunks, and questions about them.

See also: `smem_jax.data.factbook.lessons.lessons`, which puts them together.
"""

from smem_jax.data.factbook.chunks import Chunk, chunks
from smem_jax.data.factbook.profiles import Field, Profile, read_profiles
from smem_jax.data.factbook.questions import Question, questions

__all__ = ["Chunk", "Field", "Profile", "Question", "chunks", "questions", "read_profiles"]
