"""Packing: every token once, segments and positions as they should be, little padding."""

import itertools
import json
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from smem_jax.data.byte_tokenizer import ByteTokenizer
from smem_jax.data.packing import Packer, Piece, lay_out, split

PARAGRAPHS = Path(__file__).parents[2] / "configs/quickstart_data/background_text.txt"
SEQ_LEN = 16


def _documents(lengths: list[int]) -> list[np.ndarray]:
    """Documents whose tokens are all different, from 1 on."""
    ends = np.cumsum([0, *lengths])
    return [np.arange(a, b, dtype=np.int32) + 1 for a, b in itertools.pairwise(ends)]


def _pieces(documents: list[np.ndarray], seq_len: int) -> list[Piece]:
    return [piece for n, tokens in enumerate(documents) for piece in split(n, tokens, seq_len)]


def _pack(packer: Packer, pieces: list[Piece]) -> list[list[Piece]]:
    rows = []
    for piece in pieces:
        packer.add(piece)
        while packer.ready:
            rows.append(packer.take())
    return rows


# Enough pieces to close rows: 33 open ones and 17 closed ones come before the first.
_LENGTHS = st.lists(st.integers(1, 5 * SEQ_LEN), min_size=40, max_size=160)


@given(lengths=_LENGTHS, seed=st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_no_token_is_lost_or_comes_twice(lengths, seed):
    documents = _documents(lengths)
    packer = Packer(SEQ_LEN, (seed,))
    rows = lay_out(_pack(packer, _pieces(documents, SEQ_LEN)), SEQ_LEN)
    packed = rows.tokens[rows.segments > 0]
    state = packer.state()
    kept = [
        documents[document][start : start + SEQ_LEN]
        for row in state["open"] + state["closed"]
        for document, start in row
    ]
    found = np.concatenate([packed, *kept])
    assert np.array_equal(np.sort(found), np.arange(sum(lengths)) + 1)


@given(lengths=_LENGTHS)
@settings(max_examples=60, deadline=None)
def test_segments_are_contiguous_and_positions_count_within_them(lengths):
    rows = _pack(Packer(SEQ_LEN, (0,)), _pieces(_documents(lengths), SEQ_LEN))
    packed = lay_out(rows, SEQ_LEN)
    for row, tokens, segments, positions in zip(rows, *packed, strict=True):
        parts = [piece.tokens for piece in row]
        padding = SEQ_LEN - sum(map(len, parts))
        assert list(tokens) == [*np.concatenate(parts), *[0] * padding]
        numbers = [n for n, part in enumerate(parts, 1) for _ in part]
        assert list(segments) == numbers + [0] * padding
        assert list(positions) == [i for part in parts for i in range(len(part))] + [0] * padding
    assert {array.dtype for array in packed} == {np.dtype(np.int32)}


@given(lengths=_LENGTHS, share=st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_a_restored_packer_gives_the_rows_that_would_have_followed(lengths, share):
    documents = _documents(lengths)
    pieces = _pieces(documents, SEQ_LEN)
    cut = int(share * len(pieces))
    packer = Packer(SEQ_LEN, (3, 1))
    _pack(packer, pieces[:cut])
    state = json.loads(json.dumps(packer.state()))
    restored = Packer(SEQ_LEN, (3, 1))
    restored.restore(state, documents.__getitem__)
    assert restored.state() == state
    expected = lay_out(_pack(packer, pieces[cut:]), SEQ_LEN)
    for one, other in zip(expected, lay_out(_pack(restored, pieces[cut:]), SEQ_LEN), strict=True):
        assert np.array_equal(one, other)


def test_real_text_is_packed_with_less_than_one_percent_of_padding():
    paragraphs = PARAGRAPHS.read_text(encoding="utf-8").splitlines()
    lengths = np.random.default_rng(0).integers(1, 6, len(paragraphs))
    ends = np.cumsum(lengths[np.cumsum(lengths) <= len(paragraphs)])
    texts = ["\n".join(paragraphs[a:b]) for a, b in zip([0, *ends], [*ends, None], strict=True)]
    documents = [np.array(ByteTokenizer().encode(text), np.int32) for text in texts]
    for seq_len in (256, 1024, 2048):
        rows = _pack(Packer(seq_len, (0,)), _pieces(documents, seq_len))
        assert len(rows) > 50
        assert np.mean(lay_out(rows, seq_len).segments == 0) < 0.01, seq_len


def test_the_rows_of_one_long_document_do_not_come_in_a_row():
    documents = _documents([60 * SEQ_LEN] * 4)
    rows = _pack(Packer(SEQ_LEN, (0,)), _pieces(documents, SEQ_LEN))
    starts = [row[0].start for row in rows]
    assert starts != sorted(starts)
    assert len({tuple(row[0][:2]) for row in rows}) == len(rows)
