"""Seconds since a moment, in all and by part."""

import time
from contextlib import contextmanager
from pathlib import Path

from smem_jax import json_file
from smem_jax.errors import InputError
from smem_jax.train.files import write_json


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

    def save(self, path: Path) -> None:
        """Keeps the seconds so far, for a process that goes on."""
        write_json(path, {"total": self.total(), "parts": self.parts})

    def go_on(self, path: Path) -> None:
        """Adds the seconds that were saved, where there are any; InputError for damaged ones."""
        if path.is_file():
            earlier = json_file.read(path)
            try:
                self._start -= float(earlier["total"])
                for part, seconds in earlier["parts"].items():
                    self.parts[part] = self.parts.get(part, 0.0) + float(seconds)
            except (LookupError, ValueError, TypeError, AttributeError, ArithmeticError) as error:
                raise InputError(f"{path}: not the times of a run ({error!r})") from error
