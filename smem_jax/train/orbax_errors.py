"""What Orbax and TensorStore say of failures, in one line rather than in stack traces."""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# What the system or TensorStore says, and what it means.
_FULL = {
    "No space left": "no space left on the device",
    "RESOURCE_EXHAUSTED": "no space left on the device",
    "Disk quota exceeded": "no space left in the disk quota",
    "File too large": "a file would be larger than the file system or `ulimit -f` allows",
}


def cause(error: BaseException) -> BaseException:
    """The exception that all the others were raised from."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def why(error: BaseException) -> str:
    """The cause in one line of at most some 200 characters."""
    first = cause(error)
    text = " ".join(str(first).split())
    full = next((meaning for sign, meaning in _FULL.items() if sign in text), None)
    return full or f"{type(first).__name__}: {text[:160]}"


@contextmanager
def not_logged() -> Iterator[None]:
    """Drops what Orbax logs, tracebacks of failed saves among it."""
    with _filtered("absl", lambda record: "/orbax/" not in record.pathname):
        yield


@contextmanager
def not_printed() -> Iterator[None]:
    """Drops what Python says of reads and writes that Orbax leaves behind once one has failed."""
    hook = sys.unraisablehook

    def without_orbax(unraisable: Any) -> None:
        code = getattr(unraisable.object, "cr_code", None)
        if "/orbax/" in str(code) or "Event loop is closed" in str(unraisable.exc_value):
            return
        hook(unraisable)

    sys.unraisablehook = without_orbax
    try:
        with _filtered("asyncio", lambda record: "never retrieved" not in record.getMessage()):
            yield
    finally:
        sys.unraisablehook = hook


@contextmanager
def _filtered(logger: str, keep: Callable[[logging.LogRecord], bool]) -> Iterator[None]:
    logging.getLogger(logger).addFilter(keep)
    try:
        yield
    finally:
        logging.getLogger(logger).removeFilter(keep)
