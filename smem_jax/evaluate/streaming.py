"""One continuation, token by token, as it is made."""

import functools
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from smem_jax.errors import InputError
from smem_jax.evaluate.batching import pad_rows, power_of_two
from smem_jax.models.pretrained import Tokenizer
from smem_jax.models.transformer import KVCache, Transformer, default_positions

# The least room for a prompt, and for a prompt with what follows it; each size is compiled.
_LEAST_PROMPT, _LEAST_LENGTH = 64, 256
_INCOMPLETE = "\ufffd"  # what a decoder puts for a character of which bytes are still to come


class Sampling(NamedTuple):
    """How a token is chosen.

    With `temperature` 0 the likeliest. Else at random: probabilities are those at that temperature,
    of the likeliest tokens that together have `top_p` of them, drawn by `seed`.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    max_new_tokens: int = 64

    def check(self) -> None:
        """Raises InputError for values that make no sense."""
        if not 0 <= self.temperature < float("inf"):
            raise InputError(f"temperature={self.temperature} must be at least 0")
        if not 0 < self.top_p <= 1:
            raise InputError(f"top_p={self.top_p} must be above 0 and at most 1")
        if self.max_new_tokens < 1:
            raise InputError(f"max_new_tokens={self.max_new_tokens} must be at least 1")


class Streamer:
    """A model that is asked often: its programs are compiled once for all prompts of a size."""

    def __init__(self, model: Transformer, tokenizer: Tokenizer):
        self._graphdef, self._state = nnx.split(model)
        self._config = model.config
        self._tokenizer = tokenizer

    def stream(self, prompt: str, stops: Collection[int], sampling: Sampling) -> Iterator[str]:
        """The text after a prompt, in pieces of whole characters, before the first of `stops`.

        Raises InputError for an empty prompt, and for one that leaves no room in the positions of
        the model.
        """
        sampling.check()
        ids = self._tokenizer.encode(prompt)
        longest = self._config.max_positions - sampling.max_new_tokens
        if not 1 <= len(ids) <= longest:
            raise InputError(f"the prompt has {len(ids)} tokens; 1 to {longest} are right")
        shown, made = "", list[int]()
        for token in self._tokens(ids, sampling):
            if token in stops:
                break
            made.append(token)
            text = self._tokenizer.decode(made)
            if not text.endswith(_INCOMPLETE):
                yield text[len(shown) :]
                shown = text
        if rest := self._tokenizer.decode(made)[len(shown) :]:  # a character that stays cut
            yield rest

    def _tokens(self, ids: Sequence[int], sampling: Sampling) -> Iterator[int]:
        prompt_room = max(_LEAST_PROMPT, power_of_two(len(ids)))
        room = max(_LEAST_LENGTH, power_of_two(prompt_room + sampling.max_new_tokens))
        key = jax.random.key(sampling.seed)
        chosen = (np.float32(sampling.temperature), np.float32(sampling.top_p))
        tokens = pad_rows([ids], 1, prompt_room, self._tokenizer.pad_id)
        token, caches = _first(
            self._graphdef, self._state, tokens, np.int32(len(ids)), room, *chosen, key
        )
        for made in range(sampling.max_new_tokens):
            yield int(token)
            if made + 1 < sampling.max_new_tokens:
                step_key = jax.random.fold_in(key, made + 1)
                position = np.int32(len(ids) + made)
                token, caches = _next(
                    self._graphdef, self._state, caches, token, position, *chosen, step_key
                )


@functools.partial(jax.jit, static_argnames=("graphdef", "room"))
def _first(
    graphdef: nnx.GraphDef,
    state: nnx.State,
    tokens: jax.Array,
    length: jax.Array,
    room: int,
    temperature: jax.Array,
    top_p: jax.Array,
    key: jax.Array,
) -> tuple[jax.Array, list[KVCache]]:
    """The first new token, int32 scalar, and caches with room for all."""
    model = nnx.merge(graphdef, state)
    # Keys of the padding stay in the cache; each is overwritten before a query can see it.
    hidden, caches = model.decode(tokens, default_positions(tokens), model.init_cache(1, room))
    return _choose(model.logits(hidden[0, length - 1]), temperature, top_p, key), caches


@functools.partial(jax.jit, static_argnames="graphdef", donate_argnames="caches")
def _next(
    graphdef: nnx.GraphDef,
    state: nnx.State,
    caches: list[KVCache],
    token: jax.Array,
    position: jax.Array,
    temperature: jax.Array,
    top_p: jax.Array,
    key: jax.Array,
) -> tuple[jax.Array, list[KVCache]]:
    model = nnx.merge(graphdef, state)
    hidden, caches = model.decode(token[None, None], position[None, None], caches)
    return _choose(model.logits(hidden[0, -1]), temperature, top_p, key), caches


def _choose(
    logits: jax.Array, temperature: jax.Array, top_p: jax.Array, key: jax.Array
) -> jax.Array:
    """A token by logits [vocab_size], int32 scalar; see `Sampling`."""

    def sampled() -> jax.Array:
        scaled = (logits - logits.max()) / temperature
        ordered = jnp.sort(scaled, descending=True)
        shares = jax.nn.softmax(ordered)
        # A token is kept while those before it have less than top_p.
        kept = (jnp.cumsum(shares) - shares < top_p).at[0].set(True)
        least = jnp.min(jnp.where(kept, ordered, jnp.inf))
        return jax.random.categorical(key, jnp.where(scaled >= least, scaled, -jnp.inf))

    likeliest = functools.partial(jnp.argmax, logits)
    return jax.lax.cond(temperature > 0, sampled, likeliest).astype(jnp.int32)
