"""Streams: the same global batch for any number of processes, and exact positions."""

import json
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smem_jax.data.byte_tokenizer import ByteTokenizer
from smem_jax.data.stream import Rows, Stream, open_stream
from smem_jax.errors import InputError

NUM_DOCUMENTS = 101
ARGUMENTS = {
    "tokenizer": ByteTokenizer(),
    "seq_len": 32,
    "rows_per_shard": 3,
    "num_shards": 4,
    "seed": 5,
}


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("stream") / "text.txt"
    lengths = np.random.default_rng(0).integers(1, 90, NUM_DOCUMENTS)
    lines = [f"<{n}>" + "x" * length for n, length in enumerate(lengths)]
    path.write_text("\n\n".join(lines))
    return f"text:{path}"


def _open(source: str, shards: range, **changes: object) -> Stream:
    return open_stream(source, shards=shards, **{**ARGUMENTS, **changes})  # type: ignore[arg-type]


def _take(stream: Stream, count: int) -> list[Rows]:
    return [next(stream) for _ in range(count)]


def _assert_equal(one: list[Rows], other: list[Rows]) -> None:
    assert len(one) == len(other)
    for left, right in zip(one, other, strict=True):
        for name in Rows._fields:
            np.testing.assert_array_equal(getattr(left, name), getattr(right, name))


def _joined(parts: list[list[Rows]]) -> list[Rows]:
    return [Rows(*map(np.concatenate, zip(*rows, strict=True))) for rows in zip(*parts)]  # noqa: B905


def test_the_global_batch_does_not_depend_on_the_number_of_processes(source):
    whole = _take(_open(source, range(4)), 6)
    assert whole[0].tokens.shape == (12, 32)
    _assert_equal(whole, _joined([_take(_open(source, range(i, i + 2)), 6) for i in (0, 2)]))
    _assert_equal(whole, _joined([_take(_open(source, range(i, i + 1)), 6) for i in range(4)]))


def test_a_position_of_two_processes_is_taken_up_by_one_and_by_four(source):
    two = [_open(source, range(2)), _open(source, range(2, 4))]
    for stream in two:
        _take(stream, 5)
    state = json.loads(json.dumps(two[0].state() | two[1].state()))
    assert sorted(state) == ["0", "1", "2", "3"]
    expected = _joined([_take(stream, 4) for stream in two])
    one = _open(source, range(4))
    one.restore(state)
    _assert_equal(expected, _take(one, 4))
    four = [_open(source, range(i, i + 1)) for i in range(4)]
    for stream in four:
        stream.restore(state)
    _assert_equal(expected, _joined([_take(stream, 4) for stream in four]))


@given(before=st.integers(0, 40), moved=st.integers(0, 3), prefetch=st.integers(0, 3))
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_restored_stream_gives_exactly_the_rows_that_followed(source, before, moved, prefetch):
    stream = _open(source, range(1, 3), prefetch=prefetch)
    _take(stream, before)
    state = json.loads(json.dumps(stream.state()))
    expected = _take(stream, 5)
    other = _open(source, range(1, 3), prefetch=2)
    _take(other, moved)  # what was read before a position is taken up leaves no trace
    other.restore(state)
    assert json.loads(json.dumps(other.state())) == state
    _assert_equal(expected, _take(other, 5))
    assert other.state() == stream.state()
    stream.close()
    other.close()


def test_reading_ahead_does_not_move_the_position(source):
    eager, plain = _open(source, range(4), prefetch=8), _open(source, range(4), prefetch=0)
    _take(eager, 2), _take(plain, 2)
    time.sleep(0.2)  # for the background threads to fill their buffers
    assert eager.state() == plain.state()


def test_every_document_comes_once_an_epoch_and_each_epoch_has_an_order_of_its_own(source):
    shards = [_documents_of(source, shard, epochs=2) for shard in range(4)]
    epochs = [[number for shard in shards for number in shard[epoch]] for epoch in range(2)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(NUM_DOCUMENTS))
    assert epochs[0] != epochs[1]
    assert epochs[0] != list(range(NUM_DOCUMENTS))


def _documents_of(source: str, shard: int, epochs: int) -> list[list[int]]:
    """The numbers of the documents of each epoch, in the order in which a shard tokenises them."""
    seen: list[int] = []
    length = len(range(shard, NUM_DOCUMENTS, 4))

    class Recorder(ByteTokenizer):
        def encode(self, text: str) -> list[int]:
            seen.append(int(text[1 : text.index(">")]))
            return super().encode(text)

    stream = _open(source, range(shard, shard + 1), prefetch=0, tokenizer=Recorder())
    while len(seen) < epochs * length:
        next(stream)
    return [seen[epoch * length : (epoch + 1) * length] for epoch in range(epochs)]


def test_every_document_ends_with_the_end_token(tmp_path):
    path = tmp_path / "short.txt"
    path.write_text("\n".join("y" * n for n in range(3, 12)))
    rows = next(_open(f"text:{path}", range(1), num_shards=1))
    assert rows.segments.max() > 2
    for tokens, segments in zip(rows.tokens, rows.segments, strict=True):
        for number in range(1, segments.max() + 1):
            document = tokens[segments == number]
            assert document[-1] == 256 and (document[:-1] == ord("y")).all()


def test_long_documents_are_cut(tmp_path):
    path = tmp_path / "long.txt"
    path.write_text("y" * 1000)
    stream = _open(f"text:{path}", range(1), num_shards=1)
    rows = next(stream)
    pieces = [tokens[segments == 1] for tokens, segments, _ in zip(*rows, strict=True)]
    assert {len(piece) for piece in pieces} <= {32, 1001 % 32}
    assert all((piece[:-1] == ord("y")).all() for piece in pieces)


def test_seeds_give_other_orders(source):
    one, other = (next(_open(source, range(4), seed=seed)).tokens for seed in (1, 2))
    assert not np.array_equal(one, other)


def test_a_slow_source_shows_in_the_waiting_time(source):
    class Slow(ByteTokenizer):
        def encode(self, text: str) -> list[int]:
            time.sleep(0.01)
            return super().encode(text)

    for prefetch in (0, 2):
        stream = _open(source, range(1), tokenizer=Slow(), prefetch=prefetch)
        next(stream)  # of more than ten documents, and a sleep does not end too early
        assert stream.waited > 0.1


def test_an_error_in_the_background_reaches_the_reader(source):
    class Broken(ByteTokenizer):
        def encode(self, text: str) -> list[int]:
            raise InputError("no such word")

    stream = _open(source, range(2), tokenizer=Broken())
    with pytest.raises(InputError, match="no such word"):
        next(stream)


def test_a_closed_stream_leaves_no_thread_and_says_so(source):
    before = set(threading.enumerate())
    stream = _open(source, range(4))
    next(stream)
    started = set(threading.enumerate()) - before
    assert len(started) == 4
    stream.close()
    stream.close()
    assert not any(thread.is_alive() for thread in started)
    with pytest.raises(ValueError, match="closed"):
        next(stream)


def test_a_stream_that_is_never_closed_ends_with_the_program_without_a_word(source):
    program = f"""
from smem_jax.data.byte_tokenizer import ByteTokenizer
from smem_jax.data.stream import open_stream
stream = open_stream({source!r}, tokenizer=ByteTokenizer(), seq_len=32, rows_per_shard=3,
                     shards=range(2), num_shards=2, seed=0)
next(stream)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_position_of_another_stream_is_refused(source):
    stream = _open(source, range(2))
    state = stream.state()
    with pytest.raises(InputError, match="the saved data position has no shard 2"):
        _open(source, range(4)).restore(state)
    for name, value in (("seed", 6), ("seq_len", 64)):
        with pytest.raises(InputError, match=f"position is of {name}={ARGUMENTS[name]}"):
            _open(source, range(2), **{name: value}).restore(state)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_shards": 200}, r"num_shards=200 exceeds the 101 documents of 'text:"),
        ({"seq_len": 1}, "seq_len=1 must be at least 2"),
        ({"rows_per_shard": 0}, "rows_per_shard=0 must be at least 1"),
        ({"seed": -1}, "seed=-1 must be 0 to 4294967295"),
        ({"shards": []}, "must name at least one shard"),
        ({"shards": [1, 1]}, "and each once"),
        ({"shards": [4]}, "shard 4 must be 0 to 3"),
    ],
)
def test_arguments_that_make_no_sense_are_named(source, changes, message):
    with pytest.raises(InputError, match=message):
        open_stream(source, **{"shards": range(2), **ARGUMENTS, **changes})


def test_a_missing_grain_is_said_with_the_remedy(source, monkeypatch):
    monkeypatch.setitem(sys.modules, "grain", None)
    with pytest.raises(
        InputError, match=r"'grain' is missing; run `pip install 'smem-jax\[data\]'`"
    ):
        _open(source, range(4))


def test_local_files_need_no_tensorflow_datasets(source):
    program = (
        "import sys; sys.modules['tensorflow_datasets'] = None\n"
        "from smem_jax.data.byte_tokenizer import open_tokenizer\n"
        "from smem_jax.data.stream import open_stream\n"
        f"stream = open_stream({source!r}, tokenizer=open_tokenizer('bytes'), seq_len=32,"
        " rows_per_shard=3, shards=[0], num_shards=1, seed=0)\n"
        "print(next(stream).tokens.shape, 'tensorflow' in sys.modules)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ended.stdout == "(3, 32) False\n", ended.stderr


def test_importing_the_stream_imports_neither_grain_nor_tensorflow_datasets():
    program = (
        "import sys, smem_jax.data.stream, smem_jax.data.byte_tokenizer\n"
        "print([name for name in ('grain', 'tensorflow_datasets') if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ended.stdout == "[]\n", ended.stderr
