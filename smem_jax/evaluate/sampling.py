"""How the next token is chosen: the likeliest, or one drawn at random."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from smem_jax.errors import InputError


class Sampling(NamedTuple):
    """How a token is chosen.

    With `temperature` 0 the likeliest. Else at random: probabilities are those at that temperature,
    of the `top_k` likeliest tokens (0: of all; of more, where the last of them are equal), and of
    the likeliest of these that together have `top_p` of them, drawn by `seed`.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    max_new_tokens: int = 64
    top_k: int = 0

    def check(self) -> None:
        """Raises InputError for values that make no sense."""
        if not 0 <= self.temperature < float("inf"):
            raise InputError(f"temperature={self.temperature} must be at least 0")
        if not 0 < self.top_p <= 1:
            raise InputError(f"top_p={self.top_p} must be above 0 and at most 1")
        if self.top_k < 0:
            raise InputError(f"top_k={self.top_k} must be at least 0")
        if not 0 <= self.seed < 2**32:
            raise InputError(f"seed={self.seed} must be at least 0 and below 2**32")
        if self.max_new_tokens < 1:
            raise InputError(f"max_new_tokens={self.max_new_tokens} must be at least 1")


class Choice(NamedTuple):
    """The numbers of a `Sampling` as arrays, so that programs are the same for all of them."""

    temperature: jax.Array
    top_p: jax.Array
    top_k: jax.Array


def choice(sampling: Sampling) -> Choice:
    """The arrays of a sampling: float32, float32 and int32 scalars."""
    return Choice(
        jnp.float32(sampling.temperature), jnp.float32(sampling.top_p), jnp.int32(sampling.top_k)
    )


def choose(logits: jax.Array, how: Choice, key: jax.Array) -> jax.Array:
    """A token by logits [vocab_size], int32 scalar; see `Sampling`."""

    def sampled() -> jax.Array:
        scaled = (logits - logits.max()) / how.temperature
        ordered = jnp.sort(scaled, descending=True)
        rank = jnp.arange(len(ordered))
        allowed = (how.top_k == 0) | (rank < how.top_k)
        shares = jax.nn.softmax(jnp.where(allowed, ordered, -jnp.inf))
        # A token is kept while those before it have less than top_p.
        kept = (allowed & (jnp.cumsum(shares) - shares < how.top_p)).at[0].set(True)
        least = jnp.min(jnp.where(kept, ordered, jnp.inf))
        return jax.random.categorical(key, jnp.where(scaled >= least, scaled, -jnp.inf))

    likeliest = functools.partial(jnp.argmax, logits)
    return jax.lax.cond(how.temperature > 0, sampled, likeliest).astype(jnp.int32)
