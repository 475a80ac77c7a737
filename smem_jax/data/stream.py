"""Batches of packed rows for each process, with a position that can be saved and taken up.

The documents are cut into a fixed number of shards, and every shard is a stream of rows of its own:
its documents in a random order, tokenised, packed, without end. Which process reads which shard
changes nothing in a shard, so neither the global batch nor a saved position depends on the number
of processes.
"""

import time
import weakref
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from smem_jax.data.documents import open_documents
from smem_jax.data.packing import Packer, Piece, Rows, lay_out, split
from smem_jax.data.requirements import require
from smem_jax.errors import InputError

__all__ = ["Rows", "Stream", "open_stream"]

_MAX_SEED = 2**32 - 1  # of Grain


class TextTokenizer(Protocol):
    """What a stream needs of a tokenizer."""

    eos_id: int

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`."""


class Stream:
    """An endless iterator over the batches of some shards; see `open_stream`.

    Attributes:
      waited: seconds that the last batch was waited for. It is next to zero while the background
        threads keep up.
    """

    def __init__(self, shards: dict[int, Any], origin: dict[str, int]):
        self.waited = 0.0
        self._shards = shards
        self._origin = origin
        # Also when the program ends: Grain's threads outlive their modules otherwise.
        self._close = weakref.finalize(self, _close, shards)

    def __iter__(self) -> "Stream":
        return self

    def __next__(self) -> Rows[np.ndarray]:
        """The next rows of every shard, in the order of the shards: int32 [batch, seq_len]."""
        if not self._shards:
            raise ValueError("the stream is closed")
        begin = time.perf_counter()
        parts = [next(shard) for shard in self._shards.values()]
        self.waited = time.perf_counter() - begin
        return Rows(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))

    def state(self) -> dict[str, Any]:
        """The position after the last batch, for JSON: an object for each shard, by its number.

        What the background threads have read ahead does not count.
        """
        return {
            str(number): {**self._origin, **shard.get_state()}
            for number, shard in self._shards.items()
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on after a `state`, with exactly the rows that followed it.

        `state` may hold more shards than are read here. Raises InputError where one is missing, and
        where it was saved over other data or with another num_shards, seq_len or seed.
        """
        for number, shard in self._shards.items():
            saved = state.get(str(number))
            if saved is None:
                raise InputError(f"the saved data position has no shard {number}")
            for name, value in self._origin.items():
                if saved.get(name) != value:
                    raise InputError(
                        f"the saved data position is of {name}={saved.get(name)}, "
                        f"the configuration has {name}={value}"
                    )
            shard.set_state({name: saved[name] for name in saved if name not in self._origin})

    def close(self) -> None:
        """Ends the background threads; nothing can be read after it."""
        self._close()


def _close(shards: dict[int, Any]) -> None:
    for shard in shards.values():
        shard.close()
    shards.clear()


class _Shard:
    """Batches of one shard in the calling thread, with the state that Grain's iterators have."""

    def __init__(self, documents: Any, read_options: Any, packer: Packer, sizes: tuple[int, int]):
        self._documents = documents
        self._reader = iter(documents.to_iter_dataset(read_options))
        self._packer = packer
        self._num_rows, self._seq_len = sizes
        self._number = 0  # of the document whose pieces are next, over all epochs
        self._start = 0  # of its next piece
        self._tokens = np.zeros(0, np.int32)

    def __iter__(self) -> "_Shard":
        return self

    def __next__(self) -> Rows[np.ndarray]:
        rows: list[list[Piece]] = []
        while len(rows) < self._num_rows:
            while not self._packer.ready:
                self._add_piece()
            rows.append(self._packer.take())
        return lay_out(rows, self._seq_len)

    def _add_piece(self) -> None:
        if self._start == 0:
            self._tokens = next(self._reader)
        piece = next(split(self._number, self._tokens, self._seq_len, self._start))
        self._start += len(piece.tokens)
        if self._start == len(self._tokens):
            self._number, self._start = self._number + 1, 0
        self._packer.add(piece)

    def get_state(self) -> dict[str, Any]:
        return {"document": self._number, "start": self._start, **self._packer.state()}

    def set_state(self, state: dict[str, Any]) -> None:
        self._number, self._start = state["document"], state["start"]
        self._reader.set_state({"next_index": self._number})
        if self._start:
            self._tokens = next(self._reader)
        self._packer.restore(state, self._documents.__getitem__)


def open_stream(
    source: str,
    *,
    tokenizer: TextTokenizer,
    seq_len: int,
    rows_per_shard: int,
    shards: Sequence[int],
    num_shards: int,
    seed: int,
    prefetch: int = 2,
) -> Stream:
    """Opens a stream of packed rows.

    Args:
      source: where the documents are; see `documents.open_documents` for its forms.
      tokenizer: has `encode` and `eos_id`, the token that ends each document.
      seq_len: tokens of a row; longer documents are cut, and each piece counts as a document.
      rows_per_shard: rows of each shard in a batch.
      shards: numbers of the shards that this process reads, from 0. A batch holds their rows in
        this order: int32 [len(shards) * rows_per_shard, seq_len].
      num_shards: of all processes together. It is part of what the data are: another number gives
        other rows.
      seed: of the order of the documents, which is another one in each epoch.
      prefetch: batches that a background thread for each shard makes ahead; 0 for no threads.

    Raises InputError where an argument makes no sense, the source cannot be read, or there are
    fewer documents than shards.
    """
    _check(seq_len, rows_per_shard, shards, num_shards, seed, prefetch)
    grain = require("grain")
    documents = open_documents(source)
    if len(documents) < num_shards:
        raise InputError(
            f"num_shards={num_shards} exceeds the {len(documents)} documents of {source!r}: "
            "a shard would have none"
        )

    def encode(text: str) -> np.ndarray:
        return np.asarray([*tokenizer.encode(text), tokenizer.eos_id], np.int32)

    shuffled = grain.MapDataset.source(documents).seed(seed).shuffle()
    threads = documents.num_threads
    read_options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=8 * threads)
    parts: dict[int, Any] = {}
    for shard in shards:
        part = shuffled[shard::num_shards].map(encode).repeat()
        packer = Packer(seq_len, (seed, shard))
        rows = _Shard(part, read_options, packer, (rows_per_shard, seq_len))
        parts[shard] = grain.experimental.ThreadPrefetchDatasetIterator(rows, prefetch)
    origin = {
        "num_documents": len(documents),
        "num_shards": num_shards,
        "seq_len": seq_len,
        "seed": seed,
    }
    return Stream(parts, origin)


def _check(
    seq_len: int,
    rows_per_shard: int,
    shards: Sequence[int],
    num_shards: int,
    seed: int,
    prefetch: int,
) -> None:
    for name, value, least in (
        ("seq_len", seq_len, 2),
        ("rows_per_shard", rows_per_shard, 1),
        ("num_shards", num_shards, 1),
        ("prefetch", prefetch, 0),
    ):
        if value < least:
            raise InputError(f"{name}={value} must be at least {least}")
    if not 0 <= seed <= _MAX_SEED:
        raise InputError(f"seed={seed} must be 0 to {_MAX_SEED}")
    if not shards or len(set(shards)) < len(shards):
        raise InputError(f"shards={list(shards)} must name at least one shard, and each once")
    for shard in shards:
        if not 0 <= shard < num_shards:
            raise InputError(f"shard {shard} must be 0 to {num_shards - 1}, one of {num_shards=}")
