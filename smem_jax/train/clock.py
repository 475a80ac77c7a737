"""Seconds since a moment, in all and by part."""

import time
from contextlib import contextmanager


class Clock:
    """Seconds since it was made; a part that comes again adds up."""

    def __init__(self):
        self.parts: dict[str, float] = {}
        self._start = time.perf_counter()

    @contextmanager
    def __call__(self, part: str):
        """Times what runs inside of it as `part`."""
        start = time.perf_counter()
        yield
        self.parts[part] = self.parts.get(part, 0.0) + time.perf_counter() - start

    def total(self) -> float:
        """Seconds since this was made."""
        return time.perf_counter() - self._start
