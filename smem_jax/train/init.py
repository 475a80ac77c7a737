"""The parameters that another job has arrived at, to start a job with."""

import json
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from smem_jax.errors import InputError
from smem_jax.train import job_dir
from smem_jax.train.program import Program, objective_of
from smem_jax.train.run_checkpoints import RunCheckpoints

# Fields in which the two models may differ: how numbers are stored and computed.
_FREE = ("model.params_dtype", "model.compute_dtype", "model.remat", "memory.values_dtype")


def check(config: ConfigDict, workdir: Path) -> None:
    """Raises InputError unless `config.init` is another job's directory, of the same model."""
    source = Path(config.init)
    if source.resolve() == workdir.resolve():
        raise InputError(f"init={config.init!r} is the work directory itself")
    theirs = job_dir.read_config(source)
    for name, there in _model_fields(theirs).items():
        here = _model_fields(config)[name]
        if there != here and name not in _FREE:
            raise InputError(
                f"init={config.init!r}: {name} is {there} there and {here} in this configuration"
            )


def from_job(program: Program, config: ConfigDict) -> Any:
    """The first state of a job with the parameters of the newest checkpoint in `config.init`.

    That job may have run on another mesh and with another objective; what is stored in another
    dtype there is converted. Of its checkpoint nothing but the parameters is read. Raises
    InputError where there is none.
    """
    workdir = Path(config.init)
    source = program.state_of(objective_of(job_dir.read_config(workdir)))
    arrays = newest(source, workdir)
    wanted = {"params": program.state.params, "values": program.state.values}

    def first(found: dict[str, Any]) -> Any:
        cast = jax.tree.map(lambda array, like: array.astype(like.dtype), found, wanted)
        return program.objective.state_of(cast["params"], cast["values"])

    layout = jax.tree.map(lambda like: like.sharding, program.state)
    return jax.jit(first, donate_argnums=0, out_shardings=layout)(arrays)


def newest(like: Any, workdir: Path) -> dict[str, Any]:
    """'params' and 'values' of the newest checkpoint in a job's directory, which is only read.

    `like` is the state of such a job on the mesh that they are wanted on. Raises InputError where
    there is no checkpoint.
    """
    checkpoints = RunCheckpoints(
        workdir / "checkpoints",
        keep=2,
        config_json=json.dumps(job_dir.identity(job_dir.read_config(workdir))),
        read_only=True,
    )
    with checkpoints:
        restored = checkpoints.restore({"params": like.params, "values": like.values})
    if restored is None:
        raise InputError(f"{workdir} holds no checkpoint")
    return restored.arrays


def _model_fields(config: ConfigDict) -> dict[str, Any]:
    """What a model's parameters mean depends on these."""
    fields = {
        f"{section}.{name}": value
        for section in ("model", "memory")
        for name, value in config[section].to_dict().items()
    }
    return {**fields, "data.tokenizer": config.data.tokenizer}
