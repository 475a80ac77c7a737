"""Files and directories that are written as a whole or not at all, whoever is killed meanwhile."""

import errno
import os
import shutil
import threading
from collections.abc import Iterator
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
    partial = _partial(path)
    try:
        yield partial
        if is_new:
            _put_new(partial, path)
        else:
            os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


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
    partial = _partial(path)
    partial.mkdir(parents=True)
    try:
        yield partial
        os.replace(partial, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


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


def _partial(path: Path) -> Path:
    """Where to write what `path` is to be: two writers at once may not share it."""
    return path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.partial")


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
