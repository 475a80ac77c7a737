"""What a job tells of itself while it runs: numbers of a step, speed, and what it waited for."""

import math
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from smem_jax.compile.chips import peak_flops
from smem_jax.train import files
from smem_jax.train.flops import step_flops
from smem_jax.train.metrics import MetricsWriter
from smem_jax.train.program import Program
from smem_jax.train.versions import versions


class JobMetrics:
    """Writes `metrics.jsonl` and TensorBoard events from process 0; a context manager.

    Every `train.log_every` batches, also to stderr where that is no terminal: the scalars of that
    step, and since the last time the seconds of a step, tokens a second (padding too), MFU where
    the device's peak is known, and the shares of the time in which the loop waited for data
    ('input_wait') and was held up by checkpoints ('checkpoint_pause'). A loss of held-out text is
    written at its own steps, too.
    """

    def __init__(self, program: Program, config: ConfigDict, workdir: Path, first: int):
        self._config, self._workdir = config, workdir
        self._devices = program.mesh.size
        self._peak = peak_flops(program.mesh.devices.flat[0].device_kind)
        is_first = jax.process_index() == 0
        self._writer = MetricsWriter(workdir, first + 1) if is_first else None
        self.skipped = self._writer.skipped if self._writer else 0  # by the steps before
        self._first, self._since = first, first
        self._start = self._window = time.perf_counter()
        self._in_window = {"waited": 0.0, "held_up": 0.0}
        self._in_all = {"waited": 0.0, "held_up": 0.0}
        self._last: dict[str, float] = {}

    def add(self, **seconds: float) -> None:
        """Adds seconds that were 'waited' for data, or 'held_up' by a checkpoint."""
        for name, value in seconds.items():
            self._in_window[name] += value
            self._in_all[name] += value

    def is_due(self, done: int) -> bool:
        """Whether a training step that made it `done` batches is written; the first two are.

        Not those of a start: what is read in these steps is marked as seen, in the state.
        """
        return done % self._config.train.log_every == 0 or done <= 2

    def measure(self, held_out: Callable[[Any], float], state: Any) -> float:
        """What `held_out` gives for a state; its time is none of the steps'."""
        jax.block_until_ready(state)
        begin = time.perf_counter()
        loss = held_out(state)
        self._window += time.perf_counter() - begin
        return loss

    def write(self, done: int, scalars: Mapping[str, jax.Array | float]) -> float:
        """Writes the scalars of a step, which are waited for, and the speed; returns the loss."""
        values = {name: float(value) for name, value in scalars.items()}
        now = time.perf_counter()
        seconds, steps = now - self._window, done - self._since
        c = self._config
        speed = {
            "step_seconds": seconds / steps,
            "tokens_per_second": steps * c.train.batch_size * c.data.seq_len / seconds,
            "input_wait": self._in_window["waited"] / seconds,
            "checkpoint_pause": self._in_window["held_up"] / seconds,
        }
        if self._peak is not None:
            speed["mfu"] = steps * step_flops(c) / (seconds * self._devices * self._peak)
        # JSON has no other numbers.
        self._last = {n: v for n, v in {**values, **speed}.items() if math.isfinite(v)}
        if self._writer is not None:
            self._writer.write(done, **self._last)
            if not sys.stderr.isatty():  # a terminal has the progress bar
                shown = " ".join(f"{name}={value:.4g}" for name, value in self._last.items())
                print(f"batch {done}: {shown}", file=sys.stderr, flush=True)
        self.start_window(done)
        return values["loss"]

    def start_window(self, done: int) -> None:
        """What is written next is of the batches after the first `done`."""
        self._window, self._since = time.perf_counter(), done
        self._in_window = dict.fromkeys(self._in_window, 0.0)

    def summary(self, done: int) -> dict[str, Any]:
        """Of this process' part of the job; process 0 writes it to `summary.json`."""
        seconds = time.perf_counter() - self._start
        summary = {
            "batches": done,
            "batches_since_start": done - self._first,
            "seconds_since_start": seconds,
            "input_wait": self._in_all["waited"] / seconds,
            "checkpoint_pause": self._in_all["held_up"] / seconds,
            "last": self._last,
            "devices": self._devices,
            "processes": jax.process_count(),
            "versions": versions(),
            "config": self._config.to_dict(),
        }
        if self._writer is not None:
            files.write_json(self._workdir / "summary.json", summary)
        return summary

    def __enter__(self) -> "JobMetrics":
        return self

    def __exit__(self, *exception: object) -> None:
        if self._writer is not None:
            self._writer.__exit__(*exception)
