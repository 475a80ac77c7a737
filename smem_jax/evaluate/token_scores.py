"""The likelihood of chosen tokens of many rows, and what the model would say in their place.

Rows are encoded and batched once and scored often. Two things keep it cheap: rows of like length
share a batch, so that little is padding, and the head runs at the scored positions alone.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
import tqdm
from flax import nnx

from smem_jax.errors import InputError
from smem_jax.evaluate import shared_prefix
from smem_jax.evaluate.batching import pad_rows, power_of_two, rounded_up
from smem_jax.models.transformer import KVCache, Transformer, default_positions

# Padding included; more is no faster on a CPU.
_BATCH_TOKENS = 2048
# The logits of this many positions are in memory at a time: 50 MB for a vocabulary of 49,152.
_HEAD_CHUNK = 256
_FEWEST_PLACES = 64


class Places(NamedTuple):
    """What is scored, int arrays [num_places]: `target` after position `position` of row `row`.

    A place may come twice, with different targets.
    """

    row: np.ndarray
    position: np.ndarray
    target: np.ndarray


class Scored(NamedTuple):
    """Of each place: `nll` float64, nats of the target; `likeliest` int32, the model's token."""

    nll: np.ndarray
    likeliest: np.ndarray


class _Batch(NamedTuple):
    tokens: np.ndarray  # int32 [rows, seq], behind the shared prefix
    places: Places  # padded, rows and positions within `tokens`
    numbers: np.ndarray  # of the places that are no padding, which come first


class TokenScores:
    """Rows of token ids with the places to score in them.

    What all rows begin with is run once. Padded shapes are few: lengths come from `rounded_up`, and
    a batch that is not full has a power of two of rows.
    """

    def __init__(self, rows: Sequence[list[int]], places: Places, pad_id: int, name: str):
        """`name` stands before the progress bar, shown where it takes long."""
        self._name = name
        self._longest = max(map(len, rows), default=0)
        first_place = int(places.position.min(initial=self._longest))
        shared = shared_prefix.shared_length(rows, first_place)
        self._prefix = rows[0][:shared] if rows else []
        self._num_places = len(places.row)
        self._batches = _batches([row[shared:] for row in rows], places, shared, pad_id)

    def measure(self, model: Transformer) -> Scored:
        """Scores all places.

        Raises InputError where a row is longer than the positions of the model.
        """
        if self._longest > model.config.max_positions:
            raise InputError(
                f"{self._name}: a row has {self._longest} tokens; "
                f"the model takes 1 to {model.config.max_positions}"
            )
        nll = np.zeros(self._num_places)
        likeliest = np.zeros(self._num_places, np.int32)
        prefix = shared_prefix.caches(model, self._prefix)
        graphdef, state = nnx.split(model)
        for batch in tqdm.tqdm(self._batches, desc=self._name, delay=2):
            hidden = (
                _hidden_behind(graphdef, state, prefix, batch.tokens)
                if self._prefix
                else _hidden(graphdef, state, batch.tokens)
            )
            found = _score(graphdef, state, hidden, batch.places)
            count = len(batch.numbers)
            nll[batch.numbers] = np.asarray(found[0], np.float64)[:count]
            likeliest[batch.numbers] = np.asarray(found[1])[:count]
        return Scored(nll, likeliest)


def _batches(rows: Sequence[list[int]], places: Places, offset: int, pad_id: int) -> list[_Batch]:
    """Longest rows first, so that only the last batch holds fewer rows than fit."""
    lengths = np.asarray([len(row) for row in rows], int)
    order = np.argsort(-lengths, kind="stable")
    batches, start = [], 0
    while start < len(rows):
        length = rounded_up(int(lengths[order[start]]))
        fit = max(1, _BATCH_TOKENS // length)
        chosen = order[start : start + fit]
        num_rows = min(fit, power_of_two(len(chosen)))
        tokens = pad_rows([rows[row] for row in chosen], num_rows, length, pad_id)
        batches.append(_Batch(tokens, *_places_of(chosen, len(rows), places, offset)))
        start += fit
    return batches


def _places_of(
    chosen: np.ndarray, num_rows: int, places: Places, offset: int
) -> tuple[Places, np.ndarray]:
    """The places in the `chosen` rows, padded to a power of two, and their numbers."""
    within = np.full(num_rows, -1)
    within[chosen] = np.arange(len(chosen))
    numbers = np.flatnonzero(within[places.row] >= 0)
    padded = np.zeros((3, max(_FEWEST_PLACES, power_of_two(len(numbers)))), np.int32)
    padded[:, : len(numbers)] = [
        within[places.row[numbers]],
        places.position[numbers] - offset,
        places.target[numbers],
    ]
    return Places(*padded), numbers


# One cache for the process: the same model before and after teaching shares its compilations, but
# for one that was given a relevance gate. The head is a program of its own, since the number of
# places varies and the blocks compile slowly.
@functools.partial(jax.jit, static_argnums=0)
def _hidden(graphdef: nnx.GraphDef, state: nnx.State, tokens: jax.Array) -> jax.Array:
    model = nnx.merge(graphdef, state)
    return model.run_blocks(model.embed(tokens))


@functools.partial(jax.jit, static_argnums=0)
def _hidden_behind(
    graphdef: nnx.GraphDef, state: nnx.State, prefix: list[KVCache], tokens: jax.Array
) -> jax.Array:
    model = nnx.merge(graphdef, state)
    caches = shared_prefix.widened(prefix, *tokens.shape)
    positions = prefix[0].keys.shape[1] + default_positions(tokens)
    return model.decode(tokens, positions, caches)[0]


@functools.partial(jax.jit, static_argnums=0)
def _score(
    graphdef: nnx.GraphDef,
    state: nnx.State,
    hidden: jax.Array,
    places: Places,
) -> tuple[jax.Array, jax.Array]:
    """Nats float32 and the likeliest token int32, each [num_places]."""
    model = nnx.merge(graphdef, state)

    def one(pair: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        vector, token = pair
        logits = model.logits(vector).astype("float32")
        return jax.nn.logsumexp(logits) - logits[token], logits.argmax().astype("int32")

    vectors = hidden[places.row, places.position]
    return jax.lax.map(one, (vectors, places.target), batch_size=_HEAD_CHUNK)
