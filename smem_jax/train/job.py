"""`smem train`: a job on a mesh of devices and any number of processes, which can be cut off.

A job is a number of batches: with the objective 'sparse' first those of background text, which are
counted, then those of the data, each of which is a step. What a step does follows from the
configuration and the state alone, and a checkpoint holds the state and how far each shard of the
data is read; so a job that was cut off at any moment and started again ends bit for bit as one that
was not, on the same number of devices. There is no other random state: keys are made of the seed
and the step.
"""

import json
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tqdm
from ml_collections import ConfigDict

from smem_jax.data.byte_tokenizer import open_tokenizer
from smem_jax.data.stream import Stream, open_stream
from smem_jax.errors import InputError
from smem_jax.train import files, init, job_dir
from smem_jax.train.held_out_loss import HeldOutLoss
from smem_jax.train.job_metrics import JobMetrics
from smem_jax.train.processes import StopSignal, WorkdirLock, together
from smem_jax.train.program import Program
from smem_jax.train.run_checkpoints import RunCheckpoints
from smem_jax.train.skipped import Skipped


class Stopped(Exception):
    """The job was asked to stop, and its state is saved; the message says how far it came."""


def run(
    config: ConfigDict,
    workdir: Path,
    overwrite: bool = False,
    profile: tuple[int, int] | None = None,
    on_step: Callable[[int, Any], None] | None = None,
) -> dict[str, Any]:
    """Runs or goes on with a job; every process of it calls this, after `processes.start`.

    Args:
      config: of `smem_jax.job_settings`.
      workdir: a directory that all processes see.
      overwrite: drop what it holds.
      profile: numbers of the first and last batch to trace into `workdir/profile`.
      on_step: called with the number of batches done and the state, after each of them.

    Returns:
      What `workdir/summary.json` says.

    Raises:
      InputError: for bad input; what was there is kept, but that `overwrite` has dropped it if
        the devices, the data or `init` were all right.
      Stopped: after SIGTERM, with a checkpoint written.
    """
    with ExitStack() as stack:
        program = Program(config, jax.devices())
        with together():
            streams = _Streams(config, program.local_rows, program.batch_parts)
        stack.callback(streams.close)
        with together():
            finished = job_dir.check(workdir, config, overwrite)
            if config.init:
                init.check(config, workdir)
        if finished is not None:
            return finished
        with together():
            held_out = streams.held_out(program)
        stack.enter_context(WorkdirLock(workdir))
        with together():
            if jax.process_index() == 0 and overwrite:
                files.empty(workdir, job_dir.CONFIG)
        identity = json.dumps(job_dir.identity(config))
        keep = config.train.keep_checkpoints
        checkpoints = stack.enter_context(
            RunCheckpoints(workdir / "checkpoints", keep=keep, config_json=identity)
        )
        stop = stack.enter_context(StopSignal())
        stack.enter_context(program.use())
        done, state = _first_state(program, config, checkpoints, streams)
        if jax.process_index() == 0:
            job_dir.write_config(workdir, config)
        total = streams.background + config.train.steps
        checkpoints.prepare(state)
        metrics = stack.enter_context(JobMetrics(program, config, workdir, done))
        skipped = Skipped(config.train.max_skipped)
        skipped.total = metrics.skipped
        profiled = _profiler(workdir, profile)
        is_watched = jax.process_index() == 0 and sys.stderr.isatty()
        progress = tqdm.tqdm(
            total=total, initial=done, desc=config.objective, disable=not is_watched
        )
        stack.enter_context(progress)
        while done < total:
            profiled(done)
            rows = program.place(streams.next(done))
            metrics.add(waited=streams.waited)
            counts = done < streams.background
            state, found = (program.count if counts else program.step)(state, rows)
            done += 1
            if not counts:
                skipped.add(f"batch {done}", found["loss"])
            if done == streams.background:
                metrics.start_window(done)
            evaluates = held_out and (done == total or done % config.train.evaluate_every == 0)
            if held_out and evaluates:
                found = {**found, "held_out_loss": metrics.measure(held_out, state)}
            if not counts and (evaluates or metrics.is_due(done)):
                skipped.check()
                state, use = program.slot_use(state, rows)
                count = {"skipped": skipped.total}
                progress.set_postfix(loss=f"{metrics.write(done, found | use | count):.3f}")
            progress.update()
            if on_step:
                on_step(done, state)
            stopped = done < total and stop.requested(done)
            if stopped or done % config.train.checkpoint_every == 0 or done == total:
                last = stopped or done == total
                skipped.check()
                if last or not skipped.in_a_row:
                    held_up = checkpoints.save(done, state, streams.position(), wait=last)
                    metrics.add(held_up=0.0 if last else held_up)  # nothing is held up by the last
            if stopped:
                profiled(None)
                raise Stopped(f"stopped after batch {done} of {total}, and saved")
        profiled(None)
        return metrics.summary(done)


class _Streams:
    """The batches of this process by their number in the job: background first, then data."""

    def __init__(self, config: ConfigDict, local_rows: np.ndarray, parts: int):
        is_sparse = config.objective == "sparse"
        self.background = config.background.batches if is_sparse else 0
        self.waited = 0.0
        sources = {"data": config.data.source}
        if is_sparse:
            sources["background"] = config.background.source
        for name, source in sources.items():
            if not source:
                raise InputError(f"{name}.source='' must say where the documents are")
        self._config = config
        self._tokenizer = tokenizer = open_tokenizer(config.data.tokenizer)
        if tokenizer.vocab_size > config.model.vocab_size:
            raise InputError(
                f"model.vocab_size={config.model.vocab_size} must be at least "
                f"{tokenizer.vocab_size}, of the tokenizer {config.data.tokenizer!r}"
            )
        num_shards = config.data.num_shards
        rows_per_shard = config.train.batch_size // num_shards
        shards = np.unique(local_rows // rows_per_shard)
        if len(local_rows) != len(shards) * rows_per_shard:
            raise InputError(
                f"data.num_shards={num_shards}: the devices of process {jax.process_index()} have "
                f"parts of shards; a multiple of {parts}, into which the mesh splits a batch, is "
                "right"
            )
        self._streams: dict[str, Stream] = {
            name: open_stream(
                source,
                tokenizer=tokenizer,
                seq_len=config.data.seq_len,
                rows_per_shard=rows_per_shard,
                shards=shards.tolist(),
                num_shards=num_shards,
                seed=config.seed,
            )
            for name, source in sources.items()
        }

    def held_out(self, program: Program) -> HeldOutLoss | None:
        """The loss of the documents that are held out, or None where there are none."""
        if not self._config.data.held_out_source:
            return None
        return HeldOutLoss(program, self._config, self._tokenizer)

    def next(self, number: int):
        """The rows of batch `number`, which has to be the one after the last."""
        stream = self._streams["background" if number < self.background else "data"]
        rows = next(stream)
        self.waited = stream.waited
        return rows

    def position(self) -> dict[str, Any]:
        """How far each shard of this process is read, for JSON."""
        return {name: stream.state() for name, stream in self._streams.items()}

    def restore(self, position: dict[str, Any]) -> None:
        """Goes on after a position, of any number of processes."""
        for name, stream in self._streams.items():
            stream.restore(position[name])

    def close(self) -> None:
        for stream in self._streams.values():
            stream.close()


def _first_state(
    program: Program, config: ConfigDict, checkpoints: RunCheckpoints, streams: _Streams
) -> tuple[int, Any]:
    """Batches done, and the state after them."""
    restored = checkpoints.restore(program.state)
    if restored is not None:
        with together():
            streams.restore(restored.position)
        return restored.step, restored.arrays
    if config.init:
        return 0, init.from_job(program, config)
    return 0, program.initial_state(jax.random.key(config.seed))


def _profiler(workdir: Path, profile: tuple[int, int] | None) -> Callable[[int | None], None]:
    """A function that is told the number of each batch before it runs, and None at the end."""
    running = False

    def before(number: int | None) -> None:
        nonlocal running
        if profile is None:
            return
        if not running and number == profile[0]:
            jax.profiler.start_trace(str(workdir / "profile"))
            running = True
        elif running and (number is None or number > profile[1]):
            jax.profiler.stop_trace()
            running = False

    return before
