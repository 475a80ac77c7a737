"""The work directory of `smem train`: whose it is, and what run its checkpoints are of."""

from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from smem_jax import atomic, json_file
from smem_jax import config as config_module
from smem_jax.errors import InputError
from smem_jax.job_settings import job_defaults
from smem_jax.train import files

CONFIG, _SUMMARY = "job.json", "summary.json"
# Fields that may change when a job goes on: where and how it runs, not what it computes.
_FREE = (
    "init",
    "mesh",
    "data.held_out_source",
    "model.remat",
    "train.checkpoint_every",
    "train.keep_checkpoints",
    "train.log_every",
    "train.max_skipped",
    "train.evaluate_every",
)


def identity(config: ConfigDict) -> dict[str, Any]:
    """The configuration without what may change when a job goes on."""
    fields = config.to_dict()
    for name in _FREE:
        *sections, last = name.split(".")
        section = fields
        for part in sections:
            section = section[part]
        del section[last]
    return fields


def check(workdir: Path, config: ConfigDict, overwrite: bool) -> dict[str, Any] | None:
    """The summary of the directory's job if that is this one, and finished; else None.

    Raises InputError for a directory that is not a job's, or of another job that is finished.
    """
    if files.is_new(workdir):
        return None
    names = {path.name for path in workdir.iterdir()} if workdir.is_dir() else set()
    if not names or not ({CONFIG} & names or names <= {files.LOCK, "checkpoints"}):
        raise InputError(f"--workdir {workdir} exists and is no work directory of `smem train`")
    if overwrite or _SUMMARY not in names:
        return None
    if identity(read_config(workdir)) != identity(config):
        raise InputError(
            f"--workdir {workdir} holds a finished job of another configuration; --overwrite "
            "starts anew"
        )
    return json_file.read(workdir / _SUMMARY)


def write_config(workdir: Path, config: ConfigDict) -> None:
    """Says in the directory what job it is of, all of it or nothing."""
    atomic.write_text(workdir / CONFIG, config_module.to_json(config))


def read_config(workdir: Path) -> ConfigDict:
    """The configuration of the job of a work directory; InputError where there is none."""
    path = workdir / CONFIG
    if not path.is_file():
        raise InputError(f"{workdir} is no work directory of `smem train` ({path.name} is missing)")
    try:
        return config_module.from_json(path.read_text(), job_defaults())
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
