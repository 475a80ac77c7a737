"""One continuation, token by token, as it is made."""

import functools
from collections.abc import Collection, Iterator, Sequence

import jax
import numpy as np
from flax import nnx

from smem_jax.evaluate.batching import pad_rows, power_of_two
from smem_jax.evaluate.generate import check_lengths
from smem_jax.evaluate.sampling import Choice, Sampling, choice, choose
from smem_jax.models.pretrained import Tokenizer
from smem_jax.models.transformer import KVCache, Transformer, default_positions

# The least room for a prompt, and for a prompt with what follows it; each size is compiled.
_LEAST_PROMPT, _LEAST_LENGTH = 64, 256
_INCOMPLETE = "\ufffd"  # what a decoder puts for a character of which bytes are still to come


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
        check_lengths([prompt], [ids], sampling.max_new_tokens, self._config.max_positions)
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
        how = choice(sampling)
        tokens = pad_rows([ids], 1, prompt_room, self._tokenizer.pad_id)
        token, caches = _first(
            self._graphdef, self._state, tokens, np.int32(len(ids)), room, how, key
        )
        for made in range(sampling.max_new_tokens):
            yield int(token)
            if made + 1 < sampling.max_new_tokens:
                step_key = jax.random.fold_in(key, made + 1)
                position = np.int32(len(ids) + made)
                token, caches = _next(
                    self._graphdef, self._state, caches, token, position, how, step_key
                )


@functools.partial(jax.jit, static_argnames=("graphdef", "room"))
def _first(
    graphdef: nnx.GraphDef,
    state: nnx.State,
    tokens: jax.Array,
    length: jax.Array,
    room: int,
    how: Choice,
    key: jax.Array,
) -> tuple[jax.Array, list[KVCache]]:
    """The first new token, int32 scalar, and caches with room for all."""
    model = nnx.merge(graphdef, state)
    # Keys of the padding stay in the cache; each is overwritten before a query can see it.
    hidden, caches = model.decode(tokens, default_positions(tokens), model.init_cache(1, room))
    return choose(model.logits(hidden[0, length - 1]), how, key), caches


@functools.partial(jax.jit, static_argnames="graphdef", donate_argnames="caches")
def _next(
    graphdef: nnx.GraphDef,
    state: nnx.State,
    caches: list[KVCache],
    token: jax.Array,
    position: jax.Array,
    how: Choice,
    key: jax.Array,
) -> tuple[jax.Array, list[KVCache]]:
    model = nnx.merge(graphdef, state)
    hidden, caches = model.decode(token[None, None], position[None, None], caches)
    return choose(model.logits(hidden[0, -1]), how, key), caches
