"""The parameters that another job has arrived at, to start a job with."""

import json
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from smem_jax.errors import InputError
from smem_jax.train import job_dir
from smem_jax.train.program import Program
from smem_jax.train.run_checkpoints import RunCheckpoints


def from_job(program: Program, config: ConfigDict, workdir: Path) -> Any:
    """The first state of a job with the parameters of the newest checkpoint in `workdir`.

    That job may have run on another mesh and with another objective; what is stored in another
    dtype there is converted. Raises InputError where there is no checkpoint, or of another model.
    """
    theirs = job_dir.read_config(workdir)
    identity = json.dumps(job_dir.identity(theirs))
    with theirs.unlocked():
        theirs.mesh = config.mesh.copy_and_resolve_references()
    source = Program(theirs, program.mesh.devices.flatten().tolist())
    checkpoints = RunCheckpoints(
        workdir / "checkpoints", keep=2, config_json=identity, read_only=True
    )
    with checkpoints, source.use():
        restored = checkpoints.restore(source.state)
    if restored is None:
        raise InputError(f"init={str(workdir)!r} holds no checkpoint")
    found = restored.arrays.params, restored.arrays.values
    wanted = program.state.params, program.state.values
    _check_same(workdir, found, wanted)

    def first(*found: Any) -> Any:
        return program.objective.state_of(
            *jax.tree.map(lambda array, like: array.astype(like.dtype), found, wanted)
        )

    layout = jax.tree.map(lambda like: like.sharding, program.state)
    return jax.jit(first, out_shardings=layout)(*found)


def _check_same(workdir: Path, found: Any, wanted: Any) -> None:
    theirs, ours = _shapes(found), _shapes(wanted)
    for name in sorted(theirs.keys() | ours.keys()):
        there, here = theirs.get(name, "missing"), ours.get(name, "missing")
        if there != here:
            raise InputError(
                f"init={str(workdir)!r}: {name} is {there} there and {here} in this configuration"
            )


def _shapes(trees: tuple[Any, Any]) -> dict[str, tuple[int, ...]]:
    """By name, without the number of the tree."""
    return {
        jax.tree_util.keystr(path[1:], simple=True, separator=".").removesuffix(".value"): a.shape
        for path, a in jax.tree_util.tree_leaves_with_path(trees)
    }
