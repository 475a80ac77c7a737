"""The loss of a pretraining job on documents that it does not train on."""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from smem_jax.data.documents import open_documents
from smem_jax.data.packing import Piece, Rows, lay_out, split
from smem_jax.data.stream import TextTokenizer
from smem_jax.errors import InputError
from smem_jax.train.program import Program


class HeldOutLoss:
    """Nats per token of all documents of `data.held_out_source`, packed into rows once.

    Every process reads all documents, and holds those rows of each batch that its devices hold.
    Raises InputError where the source cannot be read, and for another objective than 'pretrain'.
    """

    def __init__(self, program: Program, config: ConfigDict, tokenizer: TextTokenizer):
        if config.objective != "pretrain":
            raise InputError(
                f"data.held_out_source={config.data.held_out_source!r}: only with "
                "objective='pretrain' is the loss on held-out text measured"
            )
        documents = open_documents(config.data.held_out_source)
        tokens = (
            np.asarray([*tokenizer.encode(documents[number]), tokenizer.eos_id], np.int32)
            for number in range(len(documents))
        )
        seq_len, batch_size = config.data.seq_len, config.train.batch_size
        rows = packed(tokens, seq_len)
        self._program = program
        self._batches = [
            Rows(*(array[program.local_rows] for array in batch))
            for batch in _batches(rows, seq_len, batch_size)
        ]

    def __call__(self, state: Any) -> float:
        """The loss of a state, in nats per predicted token; all processes call it together.

        The first token of each piece of a document is not predicted.
        """
        sums = [self._program.held_out(state, self._program.place(rows)) for rows in self._batches]
        total, count = np.asarray(jax.device_get(sums), np.float64).sum(axis=0).tolist()
        return total / max(count, 1.0)


def packed(documents: Iterator[np.ndarray], seq_len: int) -> list[list[Piece]]:
    """The pieces of documents of int32 tokens in rows of `seq_len`, longest first, best fit."""
    pieces = [
        piece for number, tokens in enumerate(documents) for piece in split(number, tokens, seq_len)
    ]
    rows: list[list[Piece]] = []
    with_room: list[list[list[Piece]]] = [[] for _ in range(seq_len + 1)]  # rows by free tokens
    for piece in sorted(pieces, key=lambda piece: -len(piece.tokens)):
        length = len(piece.tokens)
        room = next((room for room in range(length, seq_len) if with_room[room]), seq_len)
        if room == seq_len:
            row: list[Piece] = []
            rows.append(row)
        else:
            row = with_room[room].pop()
        row.append(piece)
        with_room[room - length].append(row)
    return rows


def _batches(rows: list[list[Piece]], seq_len: int, batch_size: int) -> Iterator[Rows[np.ndarray]]:
    """All rows in batches of one size, with empty rows at the end."""
    for start in range(0, len(rows), batch_size):
        batch = rows[start : start + batch_size]
        yield lay_out(batch + [[]] * (batch_size - len(batch)), seq_len)
