"""The work directory of `smem train`: whose it is, and what run its checkpoints are of."""

import shutil
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from smem_jax import config as config_module
from smem_jax.errors import InputError
from smem_jax.job_settings import job_defaults

# Fields that may change when a job goes on: where and how it runs, not what it computes.
_FREE = (
    "init",
    "mesh",
    "model.remat",
    "train.checkpoint_every",
    "train.keep_checkpoints",
    "train.log_every",
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


def check(workdir: Path, overwrite: bool) -> None:
    """Raises InputError for a directory that is not a job's, or holds a finished one."""
    if not workdir.exists() or (workdir.is_dir() and not any(workdir.iterdir())):
        return
    names = {path.name for path in workdir.iterdir()} if workdir.is_dir() else set()
    if not names or not ({"job.json"} & names or names <= {".lock", "checkpoints"}):
        raise InputError(f"--workdir {workdir} exists and is no work directory of `smem train`")
    if not overwrite and "summary.json" in names:
        raise InputError(f"--workdir {workdir} holds a finished job; --overwrite starts anew")


def claim(workdir: Path, config: ConfigDict, overwrite: bool) -> None:
    """Empties the directory where that is wanted, and says in it whose it is."""
    if overwrite:
        for path in workdir.iterdir():
            if path.name == ".lock":
                continue
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    (workdir / "job.json").write_text(config_module.to_json(config))


def read_config(workdir: Path) -> ConfigDict:
    """The configuration of the job of a work directory; InputError where there is none."""
    path = workdir / "job.json"
    if not path.is_file():
        raise InputError(f"{workdir} is no work directory of `smem train` ({path.name} is missing)")
    try:
        return config_module.from_json(path.read_text(), job_defaults())
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
