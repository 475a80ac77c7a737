"""Generation of many answers at once, with a KV cache."""

import functools
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tqdm
from flax import nnx

from smem_jax.errors import InputError
from smem_jax.evaluate import shared_prefix
from smem_jax.evaluate.batching import pad_rows, power_of_two
from smem_jax.evaluate.sampling import Choice, Sampling, choice, choose
from smem_jax.models.pretrained import Tokenizer
from smem_jax.models.transformer import KVCache, Transformer, default_positions

# Prompts are padded to at least the one, and to a multiple of the other.
_SHORTEST, _LENGTH_STEP = 32, 16
_ANY = -1  # in place of a token


class _Draw(NamedTuple):
    """How tokens are drawn, and a random key for each row."""

    how: Choice
    keys: jax.Array


def answers(
    model: Transformer,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    max_new_tokens: int = 24,
    batch_size: int = 50,
) -> list[str]:
    """What follows each prompt up to the first line break or special token, stripped."""
    stops = tokenizer.special_ids + tokenizer.ids_containing("\n")
    texts = generate(model, tokenizer, prompts, max_new_tokens, stops, batch_size)
    return [text.strip() for text in texts]


def generate(
    model: Transformer,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    max_new_tokens: int,
    stop_token_ids: Sequence[int],
    batch_size: int = 50,
) -> list[str]:
    """The most likely continuation of each prompt, token by token.

    A continuation ends before the first of `stop_token_ids` or after `max_new_tokens`. All prompts
    of a call are padded to one length out of 32, 48, 64, ..., so that prompts of several lengths
    share a compilation. What all of them begin with, such as the examples of a few-shot prompt, is
    run once. Raises InputError for an empty prompt, and for one that would not fit into the
    positions of the model.
    """
    rows = [tokenizer.encode(prompt) for prompt in prompts]
    check_lengths(prompts, rows, max_new_tokens, model.config.max_positions)
    found = _continue(model, tokenizer.pad_id, rows, max_new_tokens, stop_token_ids, [], batch_size)
    return [tokenizer.decode(ids[:count]) for ids, count in found]


def until(
    model: Transformer,
    tokenizer: Tokenizer,
    rows: Sequence[list[int]],
    max_new_tokens: int,
    stops: Sequence[str],
    batch_size: int = 50,
    sampling: Sampling | None = None,
    numbers: Sequence[int] = (),
) -> list[str]:
    """A continuation of each row of token ids, before the first of `stops`.

    As `generate`, but `stops` are texts: a continuation ends before one of them, wherever in a
    token it begins, and before a special token. Rows have to leave `max_new_tokens` positions free.

    With a `sampling` of a temperature above 0, tokens are drawn at random, for each row by its own
    of `numbers` (0, 1, 2, ... if not given) and the seed, in whatever batch it stands. Raises
    ValueError where there are not as many numbers as rows.
    """
    whole = {index for stop in stops for index in tokenizer.ids_containing(stop)}
    # A stop that comes in other tokens than these costs time: the text is cut all the same.
    parts = [tokenizer.encode(stop) for stop in stops]
    ends = [*tokenizer.special_ids, *whole]
    draw = None
    if sampling is not None and sampling.temperature > 0:
        if numbers and len(numbers) != len(rows):
            raise ValueError(f"{len(numbers)} numbers for {len(rows)} rows")
        own = jnp.asarray(list(numbers or range(len(rows))), jnp.uint32)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(sampling.seed), own)
        draw = _Draw(choice(sampling), keys)
    found = _continue(model, tokenizer.pad_id, rows, max_new_tokens, ends, parts, batch_size, draw)
    return [_before(stops, tokenizer.decode(ids[: count + 1])) for ids, count in found]


def _before(stops: Sequence[str], text: str) -> str:
    return text[: min((text.index(stop) for stop in stops if stop in text), default=len(text))]


def _continue(
    model: Transformer,
    pad_id: int,
    rows: Sequence[list[int]],
    max_new_tokens: int,
    stop_ids: Sequence[int],
    stop_rows: Sequence[list[int]],
    batch_size: int,
    draw: _Draw | None = None,
) -> list[tuple[list[int], int]]:
    """Of each row: what was generated, with more behind the end, and how much is before the end."""
    if not rows:
        return []
    shared = shared_prefix.shared_length(rows, len(rows[0]))
    prefix = shared_prefix.caches(model, rows[0][:shared])
    rows = [row[shared:] for row in rows]
    length = max(_SHORTEST, -(-max(map(len, rows)) // _LENGTH_STEP) * _LENGTH_STEP)
    batch_size = min(batch_size, power_of_two(len(rows)))
    is_stop = np.zeros(model.config.vocab_size, bool)
    is_stop[list(stop_ids)] = True
    endings = np.full((len(stop_rows), max(map(len, stop_rows), default=1)), _ANY, np.int32)
    for ending, row in zip(endings, stop_rows, strict=True):
        ending[len(ending) - len(row) :] = row
    graphdef, state = nnx.split(model)
    found: list[tuple[list[int], int]] = []
    for start in tqdm.trange(0, len(rows), batch_size, desc="answers", delay=2):
        batch = rows[start : start + batch_size]
        tokens = pad_rows(batch, batch_size, length, pad_id)
        lengths = np.zeros(batch_size, np.int32)
        lengths[: len(batch)] = [len(row) for row in batch]
        own = None
        if draw is not None:
            own_keys = draw.keys[np.minimum(np.arange(start, start + batch_size), len(rows) - 1)]
            own = draw._replace(keys=own_keys)
        generated, counts = _tokens(
            graphdef, state, prefix, tokens, lengths, is_stop, endings, max_new_tokens, own
        )
        made = zip(np.asarray(generated).tolist(), np.asarray(counts).tolist(), strict=True)
        found += itertools.islice(made, len(batch))
    return found


def check_lengths(
    prompts: Sequence[str], rows: Sequence[list[int]], max_new_tokens: int, max_positions: int
) -> None:
    """Raises InputError for a prompt without tokens, or that leaves no room for the new ones.

    `rows` are the tokens of the prompts.
    """
    longest = max_positions - max_new_tokens
    if longest < 1:
        raise InputError(
            f"max_new_tokens={max_new_tokens} must be below {max_positions}, the positions "
            "of the model"
        )
    for prompt, row in zip(prompts, rows, strict=True):
        if not 1 <= len(row) <= longest:
            raise InputError(
                f"prompt {prompt[:80]!r} has {len(row)} tokens; 1 to {longest} are right"
            )


@functools.partial(jax.jit, static_argnames=("graphdef", "max_new_tokens"))
def _tokens(
    graphdef: nnx.GraphDef,
    state: nnx.State,
    prefix: list[KVCache],
    tokens: jax.Array,
    lengths: jax.Array,
    is_stop: jax.Array,
    endings: jax.Array,
    max_new_tokens: int,
    draw: _Draw | None,
) -> tuple[jax.Array, jax.Array]:
    """Tokens int32 [batch, max_new_tokens] and how many of them come before a stop [batch].

    `tokens` int32 [batch, seq] are prompts behind the shared prefix, padded on the right, of
    `lengths` [batch]; a row of length zero is padding. `is_stop` is bool [vocab_size];
    `endings` int32 [num_endings, width] are rows of tokens that stop as well, `_ANY` before shorter
    ones. The likeliest tokens, unless a `draw` is given. The loop ends when all have stopped.
    """
    model = nnx.merge(graphdef, state)
    batch, seq = tokens.shape
    shared = prefix[0].keys.shape[1]
    caches = shared_prefix.widened(prefix, batch, seq + max_new_tokens)
    hidden, caches = model.decode(tokens, shared + default_positions(tokens), caches)
    # Keys of the padding stay in the cache; each is overwritten before a query can see it.
    last = jnp.take_along_axis(hidden, jnp.maximum(lengths - 1, 0)[:, None, None], axis=1)
    first_token = _next_token(model, last, draw, 0)

    def unfinished(carry: tuple) -> jax.Array:
        step, _, _, done, *_ = carry
        return (step < max_new_tokens) & ~done.all()

    def next_token(carry: tuple) -> tuple:
        step, token, recent, done, generated, counts, caches = carry
        generated = generated.at[:, step].set(token)
        recent = jnp.concatenate([recent[:, 1:], token[:, None]], axis=1)
        ended = ((endings == recent[:, None]) | (endings == _ANY)).all(axis=-1).any(axis=-1)
        done = done | is_stop[token] | ended
        counts = counts + ~done
        hidden, caches = model.decode(token[:, None], (shared + lengths + step)[:, None], caches)
        token = _next_token(model, hidden, draw, step + 1)
        return step + 1, token, recent, done, generated, counts, caches

    carry = (
        0,
        first_token,
        jnp.full((batch, endings.shape[1]), _ANY, jnp.int32),
        lengths == 0,
        jnp.zeros((batch, max_new_tokens), jnp.int32),
        jnp.zeros(batch, jnp.int32),
        caches,
    )
    *_, generated, counts, _ = jax.lax.while_loop(unfinished, next_token, carry)
    return generated, counts


def _next_token(
    model: Transformer, hidden: jax.Array, draw: _Draw | None, step: int | jax.Array
) -> jax.Array:
    """The token after the last position of [batch, seq, embed_dim]: int32 [batch]."""
    logits = model.logits(hidden[:, -1])
    if draw is None:
        return jnp.argmax(logits, axis=-1).astype(jnp.int32)
    keys = jax.vmap(jax.random.fold_in, (0, None))(draw.keys, step)
    return jax.vmap(choose, (0, None, 0))(logits, draw.how, keys)
