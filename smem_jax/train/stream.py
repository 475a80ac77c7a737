"""`smem stream`: lessons arrive one after another, once; what is learned and what is forgotten.

The protocol of 'Continual Learning via Sparse Memory Finetuning' (arXiv 2510.15103): each batch
holds the wordings of one fact, or the augmentations of one chunk, and every learner sees the same
lessons in the same order. Measured are the recall of a lesson right after its step, of all lessons
so far every `evaluate.every` lessons, and held-out tasks before, along and after.
"""

import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import tqdm
from ml_collections import ConfigDict

from smem_jax import atomic, json_file
from smem_jax import config as config_module
from smem_jax.data.jsonl import iter_objects
from smem_jax.data.lessons import first_of_document
from smem_jax.errors import InputError
from smem_jax.evaluate import bootstrap
from smem_jax.evaluate.held_out import Suite, figures, summarise
from smem_jax.kernels import huge_pages
from smem_jax.models import lora, peft
from smem_jax.models.transformer import Transformer
from smem_jax.stream_settings import stream_defaults
from smem_jax.train import files, learners, stream_checks, stream_inputs, stream_patch
from smem_jax.train.background import Documents
from smem_jax.train.checkpoints import TrainCheckpoints
from smem_jax.train.clock import Clock
from smem_jax.train.learners.batch import Batch, Encoder, with_replay
from smem_jax.train.processes import WorkdirLock
from smem_jax.train.recall_matrix import RecallMatrix
from smem_jax.train.skipped import Skipped
from smem_jax.train.stream_inputs import Inputs
from smem_jax.train.versions import machine, versions

_CONFIG, _LOG, _CURVE, _MATRIX = "config.json", "stream.jsonl", "curve.jsonl", "matrix.npz"
_CLOCK = "clock.json"


def run(config: ConfigDict, workdir: Path, overwrite: bool = False) -> dict[str, Any]:
    """Teaches a stream of lessons and measures what it cost; returns what `summary.json` says.

    A run that was cut off goes on at its last evaluation; a finished one is not done again.
    `overwrite` starts anew. Raises InputError for bad input, before anything is written.
    """
    stream_checks.check(config)
    found = _finished(workdir, config, overwrite)
    if found is not None:
        return found
    atomic.check_writable(workdir)
    clock = Clock()
    with clock("load"):
        inputs = stream_inputs.load(config)
        suite = stream_inputs.suite(config, inputs.tokenizer)
    with WorkdirLock(workdir):
        found = _finished(workdir, config, overwrite)  # by another process, meanwhile
        if found is not None:
            return found
        if overwrite:
            files.empty(workdir, _CONFIG)
        return _run(config, workdir, inputs, suite, clock)


def _run(
    config: ConfigDict, workdir: Path, inputs: Inputs, suite: Suite, clock: Clock
) -> dict[str, Any]:
    """The run itself, in a work directory that is its own."""
    atomic.write_text(workdir / _CONFIG, config_module.to_json(config))
    with clock("measure before"):
        before = stream_inputs.before(config, inputs, suite)
    files.write_npz(workdir / "before.npz", **before)
    recall = RecallMatrix(inputs.tokenizer, inputs.lessons, config.evaluate.every)
    with clock("measure before"):
        recall_before = stream_inputs.recall_before(config, inputs, recall)
    learner = learners.make(config, inputs.model, inputs.block, inputs.background)
    skipped = Skipped(config.learner.max_skipped)
    after = _Stream(config, workdir, inputs, suite, learner, recall, clock, skipped).teach()
    _check_finite(after)
    files.write_npz(workdir / "after.npz", **after)
    summary = {
        "name": workdir.name,
        "method": config.learner.method,
        "learner": config.learner.to_dict(),
        "seed": config.seed,
        "num_lessons": len(inputs.lessons),
        "left_out": inputs.left_out,
        "skipped_steps": skipped.total,
        "seconds": clock.total(),
        "seconds_by_part": clock.parts,
        "device": machine(),
        "versions": versions(),
        "figures": summarise(before, after, seed=0),
        "recall": {
            **recall.figures(),
            **_intervals(recall),
            **{f"{kind}_before": share for kind, share in recall_before.items()},
        },
        "matrix": recall.compact(),
        "curve": [line for _, line in iter_objects(workdir / _CURVE)],
        "base_model": config.model,
        "fingerprint": inputs.fingerprint,
        "config": json.loads(config_module.to_json(config)),
    }
    stream_patch.save(config, inputs, learner, summary, workdir)
    if config.learner.method == "lora":
        peft.save(learner.model(), workdir / peft.DIRECTORY, config.model)
    files.write_json(workdir / "summary.json", summary)
    return summary


def _finished(workdir: Path, config: ConfigDict, overwrite: bool) -> dict[str, Any] | None:
    """The summary of a finished run; InputError where files of something else would be lost."""
    if files.is_new(workdir):
        return None
    previous = workdir / _CONFIG
    if not config_module.is_of(previous, stream_defaults()):
        raise InputError(f"--workdir {workdir} exists and is no work directory of `smem stream`")
    if overwrite:
        return None
    if previous.read_text() != config_module.to_json(config):
        raise InputError(
            f"--workdir {workdir} holds a run of another configuration; give that one to go on "
            "with it, or --overwrite to start anew"
        )
    summary = workdir / "summary.json"
    return json_file.read(summary) if summary.is_file() else None


def _check_finite(measured: Mapping[str, np.ndarray]) -> None:
    for name, values in measured.items():
        if not np.isfinite(values).all():
            raise InputError(
                f"{name} is not finite after the last lesson: the model has diverged; --overwrite "
                "starts anew, such as with a lower learning rate"
            )


def _intervals(recall: RecallMatrix) -> dict[str, float]:
    """95 % bootstrap interval of the recall of reworded questions, over lessons."""
    last = recall.rows["reworded"][-1]
    low, high = bootstrap.interval(last[~np.isnan(last)])
    return {"reworded_low": low, "reworded_high": high}


class _Stream(NamedTuple):
    """The loop, with what it needs."""

    config: ConfigDict
    workdir: Path
    inputs: Inputs
    suite: Suite
    learner: learners.Learner
    recall: RecallMatrix
    clock: Clock
    skipped: Skipped

    def teach(self) -> dict[str, np.ndarray]:
        """Teaches all lessons from the last checkpoint on, and evaluates along the way.

        Returns the scores of the whole suite after the last lesson.
        """
        c, lessons = self.config, self.inputs.lessons
        encoder = Encoder(self.inputs.tokenizer, lessons, c.lessons.lengths, c.learner.replay > 0)
        first_of = first_of_document(lessons)
        with TrainCheckpoints(self.workdir, c) as checkpoints:
            first, self.learner.state = checkpoints.restore(self.learner.state)
            for array in jax.tree.leaves(self.learner.state):
                huge_pages.use_for(array)
            self._rewind(first)
            progress = tqdm.trange(
                first, len(lessons), initial=first, total=len(lessons), desc=self.workdir.name
            )
            for number in progress:
                with self.clock("teach"):
                    loss = self._lesson(encoder, number, first_of[number])
                progress.set_postfix(loss=f"{loss:.3f}", refresh=False)
                done = number + 1
                if done % c.evaluate.every == 0 and done < len(lessons):
                    along = [task for task in c.evaluate.along if task in self.suite.tasks]
                    with self.clock("measure along"):
                        self._evaluate(done, along)
                    if not self.skipped.in_a_row:
                        checkpoints.save(done, self.learner.state)
                        self.clock.save(self.workdir / _CLOCK)
            if self.skipped.in_a_row >= c.learner.steps:
                raise InputError(
                    f"all steps of the last lesson are skipped, {self.skipped.in_a_row} in a row: "
                    "a loss or a gradient is not finite; --overwrite starts anew, such as with a "
                    "lower learning rate"
                )
            with self.clock("measure after"):
                return self._evaluate(len(lessons), self.suite.tasks)

    def _rewind(self, first: int) -> None:
        """Drops what was written after the checkpoint."""
        if first:
            self.recall.restore(self.workdir / _MATRIX, first)
            self.clock.go_on(self.workdir / _CLOCK)
        files.keep_lines(self.workdir / _LOG, first)
        if first:
            *_, (_, last) = iter_objects(self.workdir / _LOG)
            self.skipped.total = last.get("skipped", 0)
        files.keep_lines(self.workdir / _CURVE, len(self.recall.after))

    def _lesson(self, encoder: Encoder, number: int, first: int) -> float:
        """Teaches one lesson, asks about it and logs both; returns the loss of its first step.

        `first` is the number of the first lesson of its document.
        """
        started = time.perf_counter()
        steps = self.config.learner.steps
        logged: dict[str, float] = {}
        self.learner.begin(encoder.batches(number, 1)[0], number * steps, group=first * steps)
        for part, batch in enumerate(encoder.batches(number, steps)):
            step = number * steps + part
            found = self.learner.step(self._replayed(batch, step), step)
            self.skipped.add(f"step {part} of lesson {number}", found["loss"])
            logged = logged or found
        self.skipped.check()
        recall = self.recall.measure_one(self.learner.model(), number)
        files.append_line(
            self.workdir / _LOG,
            {
                "lesson": number,
                "id": self.inputs.lessons[number].id,
                **{name: value for name, value in logged.items() if math.isfinite(value)},
                **{f"recall_{k}": share for k, share in recall.items() if not math.isnan(share)},
                "skipped": self.skipped.total,
                "seconds": time.perf_counter() - started,
            },
        )
        return logged["loss"]

    def _replayed(self, batch: Batch, step: int) -> Batch:
        c = self.config.learner
        if not c.replay:
            return batch
        random = np.random.default_rng((self.config.seed, step))
        chosen = random.integers(len(self.inputs.documents.tokens), size=c.replay)
        replayed = Documents(*(array[chosen] for array in self.inputs.documents))
        return with_replay(batch, replayed, c.replay_weight, self.inputs.tokenizer.pad_id)

    def _evaluate(self, done: int, tasks: Sequence[str]) -> dict[str, np.ndarray]:
        """The recall of all lessons so far and the scores of held-out tasks, added to the curve."""
        model: Transformer = lora.merged(self.learner.model())
        recall = self.recall.measure(model, done)
        self.recall.save(self.workdir / _MATRIX)
        measured = self.suite.measure(model, tasks)
        along = {
            name: figure
            for name, figure in figures(measured).items()
            if name.startswith(self._along) and math.isfinite(figure)
        }
        line = {"after": done, **{f"recall_{k}": v for k, v in recall.items()}, **along}
        files.append_line(self.workdir / _CURVE, line)
        return measured

    @property
    def _along(self) -> tuple[str, ...]:
        """What the names of figures that are measured along the way begin with."""
        return tuple(self.config.evaluate.along)
