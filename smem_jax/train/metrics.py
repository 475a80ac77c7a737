"""Metrics of a run as JSON lines and as TensorBoard events."""

import json
import math
from pathlib import Path

from tensorboardX import SummaryWriter

from smem_jax import atomic


class MetricsWriter:
    """Appends to `metrics.jsonl` and to event files in `events/`; a context manager.

    Lines of `first_step` and later, left by a run that was cut off, are dropped first.

    Attributes:
      skipped: how many steps before were not applied, as the last line that tells it has it.
    """

    def __init__(self, workdir: Path, first_step: int):
        self._path = workdir / "metrics.jsonl"
        kept = [line for line in _lines(self._path) if _step(line) < first_step]
        atomic.write_text(self._path, "".join(f"{line}\n" for line in kept))
        told = [json.loads(line).get("skipped") for line in kept]
        self.skipped = next((n for n in reversed(told) if isinstance(n, int)), 0)
        self._events = SummaryWriter(str(workdir / "events"), purge_step=first_step)

    def write(self, step: int, **scalars: float) -> None:
        """Writes the scalars of one step that are finite; JSON has no others."""
        scalars = {name: value for name, value in scalars.items() if math.isfinite(value)}
        # Closed after each line, since a bucket that is mounted shows no file before that.
        with self._path.open("a") as file:
            file.write(json.dumps({"step": step, **scalars}) + "\n")
        for name, value in scalars.items():
            self._events.add_scalar(f"train/{name}", value, step)

    def __enter__(self) -> "MetricsWriter":
        return self

    def __exit__(self, *exception: object) -> None:
        self._events.close()


def _lines(path: Path) -> list[str]:
    return path.read_text(errors="replace").splitlines() if path.exists() else []


def _step(line: str) -> float:
    """The step of a line; infinity for one that was cut short or is damaged."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return float("inf")
