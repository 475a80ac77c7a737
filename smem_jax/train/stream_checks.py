"""What the configuration of a stream has to be, told before anything is loaded or written."""

import dataclasses
from pathlib import Path

from ml_collections import ConfigDict

from smem_jax.data.wordings import check_frames
from smem_jax.errors import InputError
from smem_jax.evaluate.held_out import TASKS, Files
from smem_jax.train import learners, retrofitted

_AT_LEAST = {
    "background.seq_len": 1,
    "background.sample_tokens": 1,
    "lessons.count": 1,
    "lessons.probes": 1,
    "lessons.chunk_tokens": 1,
    "evaluate.every": 1,
    "evaluate.max_new_tokens": 1,
}


def check(config: ConfigDict) -> None:
    """Raises InputError for a value that cannot be right, and for a held-out file that is missing.

    No file is read.
    """
    if not config.model:
        raise InputError(
            "model='' must name a .gguf file, a directory, package:NAME/FILE or the work directory "
            "of a `smem train`"
        )
    retrofitted.check_fields(config, {}, _AT_LEAST)
    learners.check(config)
    check_frames(config.lessons.frames)
    _check_tasks(config.evaluate)


def _check_tasks(evaluate: ConfigDict) -> None:
    for task in evaluate.along:
        if task not in TASKS:
            raise InputError(
                f"evaluate.along={tuple(evaluate.along)}: {task!r} must be one of "
                f"{', '.join(TASKS)}"
            )
    for field in dataclasses.fields(Files):
        path = evaluate[field.name]
        if path and not Path(path).is_file():
            raise InputError(f"evaluate.{field.name}={path!r}: no such file")
    if evaluate.nq and not evaluate.nq_shots:
        raise InputError(
            f"evaluate.nq_shots='' must be a file, since evaluate.nq={evaluate.nq!r} needs examples"
        )
