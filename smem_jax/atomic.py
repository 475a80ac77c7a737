"""Files and directories that are written as a whole or not at all, whoever is killed meanwhile.

What a killed writer leaves behind under another name is taken away by the next one of the same
file on the same machine. It is told from what another process is writing by a lock, which the
kernel gives back. The name tells the machine, since of a directory that several have mounted not
every lock is seen by all.
"""

import contextlib
import errno
import fcntl
import glob
import hashlib
import os
import re
import secrets
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from smem_jax.errors import InputError

# What file systems without hard links say, such as those of mounted buckets.
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)


@contextmanager
def replaced(path: Path, *, is_new: bool = False) -> Iterator[Path]:
    """A path beside `path` to write to; what is there then takes the place of `path`.

    After an exception `path` is as it was. Where `is_new`, a file that is there already is left as
    it is, whoever wrote it: FileExistsError. The directory is made where it is missing.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with replaced(Path(folder, "page.txt")) as partial:
    ...         written = partial.write_text("new")
    ...     Path(folder, "page.txt").read_text()
    'new'
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _partial(path, _new_file) as partial:
        yield partial
        if is_new:
            _put_new(partial, path)
        else:
            os.replace(partial, path)


@contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """A directory beside `path`, which is missing, to fill, and which then gets its name.

    After an exception there is nothing new.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with new_directory(Path(folder, "pages")) as partial:
    ...         written = (partial / "page.txt").write_text("new")
    ...     Path(folder, "pages", "page.txt").read_text()
    'new'
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _partial(path, Path.mkdir) as partial:
        yield partial
        os.replace(partial, path)


def is_partial(path: Path) -> bool:
    """Whether a name is that of what is being written, or was left of it."""
    return re.search(r"\.[0-9a-f]{16}\.partial$", path.name) is not None


def write_text(path: Path, text: str) -> None:
    """Replaces a text file."""
    with replaced(path) as partial:
        partial.write_text(text, encoding="utf-8")


def check_writable(directory: Path) -> None:
    """Raises InputError for a directory in which no file can be made, or that cannot be made.

    For what takes long to compute before it is written.
    """
    whole = directory.absolute()
    there = next(path for path in (whole, *whole.parents) if path.exists())
    if not os.access(there, os.W_OK):
        which = "" if there == whole else f"{directory} cannot be made: "
        raise InputError(f"{which}{there} cannot be written to")


@contextmanager
def _partial(path: Path, make: Callable[[Path], None]) -> Iterator[Path]:
    """What `make` makes beside `path`, for what `path` is to be; taken away where it is left."""
    host = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
    for left in path.parent.glob(f"{glob.escape(path.name)}.{host}{'[0-9a-f]' * 8}.partial"):
        _take_away_if_left(left)
    # Two writers at once may not share it.
    partial = path.with_name(f"{path.name}.{host}{secrets.token_hex(4)}.partial")
    descriptor = _made_and_locked(partial, make)
    try:
        yield partial
    finally:
        _take_away(partial)
        os.close(descriptor)


def _new_file(path: Path) -> None:
    path.open("xb").close()


def _made_and_locked(partial: Path, make: Callable[[Path], None]) -> int:
    """A descriptor that holds the lock."""
    while True:
        make(partial)
        # Up to the lock, another writer may think it left behind.
        try:
            descriptor = os.open(partial, os.O_RDONLY)
        except FileNotFoundError:
            continue
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), partial.stat()):
                return descriptor
        os.close(descriptor)


def _take_away_if_left(partial: Path) -> None:
    with contextlib.suppress(OSError):  # being written, gone meanwhile, or without locks
        descriptor = os.open(partial, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _take_away(partial)
        finally:
            os.close(descriptor)


def _take_away(partial: Path) -> None:
    if partial.is_dir():
        shutil.rmtree(partial, ignore_errors=True)
    else:
        partial.unlink(missing_ok=True)


def _put_new(partial: Path, path: Path) -> None:
    """Gives a file its name, unless another one has it: FileExistsError."""
    try:
        os.link(partial, path)  # which, other than a rename, takes no other file's place
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if path.exists():  # two at once may be too fast for this
            raise FileExistsError(path) from None
        os.replace(partial, path)
