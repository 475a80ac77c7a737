"""What a killed writer leaves is taken away by the next one, and nothing else is."""

import fcntl
import os
import signal
import subprocess
import sys

import pytest

from smem_jax import atomic

# Begins to write what the second argument names, and waits to be killed.
_WRITER = """
import sys, time
from pathlib import Path
from smem_jax import atomic
with getattr(atomic, sys.argv[1])(Path(sys.argv[2])) as partial:
    (partial / "page" if partial.is_dir() else partial).write_text("half")
    print("there", flush=True)
    time.sleep(60)
"""


def _start(what, path):
    command = [sys.executable, "-c", _WRITER, what, str(path)]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert writer.stdout.readline() == "there\n"
    return writer


def _write(what, path, text="new"):
    with getattr(atomic, what)(path) as partial:
        (partial / "page" if partial.is_dir() else partial).write_text(text)


@pytest.mark.parametrize("what", ["replaced", "new_directory"])
def test_what_a_killed_writer_left_is_taken_away_and_what_another_writes_is_not(tmp_path, what):
    path = tmp_path / "a[b]*"
    with _start(what, path) as killed, _start(what, tmp_path / "a[b]*.other") as writing:
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        (tmp_path / "a[b]*.mine.partial").touch()
        assert len(list(tmp_path.iterdir())) == 3
        _write(what, path)
        written, mine, others = sorted(tmp_path.iterdir())
        assert written == path and mine.name == "a[b]*.mine.partial"
        assert others.name.startswith("a[b]*.other.")
        _write(what, tmp_path / "a[b]*.other")  # of the same name, but being written
        assert len(list(tmp_path.iterdir())) == 4
        writing.send_signal(signal.SIGKILL)


def test_one_that_is_taken_away_as_it_is_opened_is_made_again(tmp_path, monkeypatch):
    opened, seen = os.open, []

    def late(path, flags):
        if not seen:
            path.unlink()
        seen.append(path)
        return opened(path, flags)

    monkeypatch.setattr(atomic.os, "open", late)
    _write("replaced", tmp_path / "file")
    assert len(seen) == 2 and os.listdir(tmp_path) == ["file"]


def test_what_another_machine_writes_is_left_alone(tmp_path, monkeypatch):
    with atomic.replaced(tmp_path / "file") as partial:
        monkeypatch.setattr(atomic.socket, "gethostname", lambda: "other")
        monkeypatch.setattr(fcntl, "flock", lambda *_: None)  # one that the other does not see
        _write("replaced", tmp_path / "file", "other")
        partial.write_text("this")
    assert (tmp_path / "file").read_text() == "this"


@pytest.mark.parametrize("what", ["replaced", "new_directory"])
def test_one_that_was_taken_away_before_its_lock_is_made_again(tmp_path, monkeypatch, what):
    flock, seen = fcntl.flock, []

    def late(descriptor, how):
        partials = list(tmp_path.glob("*.partial"))
        if not seen:
            [partial] = partials
            partial.rmdir() if partial.is_dir() else partial.unlink()
        seen.append(len(partials))
        return flock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    _write(what, tmp_path / "file")
    assert seen == [1, 1]
    assert os.listdir(tmp_path) == ["file"]


def test_a_file_system_without_locks_keeps_what_may_be_in_use(tmp_path, monkeypatch):
    def fails(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", fails)
    with atomic.replaced(tmp_path / "file") as partial:
        _write("replaced", tmp_path / "file", "other")
        partial.write_text("new")
    assert (tmp_path / "file").read_text() == "new"
    assert os.listdir(tmp_path) == ["file"]


def test_two_writers_in_turn_end_with_the_later_one(tmp_path):
    with atomic.replaced(tmp_path / "file") as first:
        with atomic.replaced(tmp_path / "file") as second:
            second.write_text("second")
        first.write_text("first")
    assert (tmp_path / "file").read_text() == "first"
    assert os.listdir(tmp_path) == ["file"]
