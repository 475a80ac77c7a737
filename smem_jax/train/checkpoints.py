"""Checkpoints of a run on one device: of the state alone, and only the latest."""

from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from ml_collections import ConfigDict

from smem_jax import config as config_module
from smem_jax.train.run_checkpoints import RunCheckpoints


class TrainCheckpoints:
    """The latest state of a run under `workdir/checkpoints`; a context manager.

    `config` says what run it is: what was saved under another one is refused.
    """

    def __init__(self, workdir: Path, config: ConfigDict):
        self._all = RunCheckpoints(
            workdir / "checkpoints", keep=1, config_json=config_module.to_json(config)
        )

    def restore(self, state: Any) -> tuple[int, Any]:
        """Steps taken and the state after them; 0 and `state` itself where nothing was saved.

        Where something was, the arrays of `state` are deleted first: a large table finds no room
        for two of its kind. Raises InputError for a checkpoint of another run, and for one that is
        not what was saved.
        """
        like = jax.tree.map(ocp.utils.to_shape_dtype_struct, state)
        if self._all.steps():
            for array in jax.tree.leaves(state):
                array.delete()
        restored = self._all.restore(like)
        return (0, state) if restored is None else (restored.step, restored.arrays)

    def save(self, step: int, state: Any) -> None:
        """Saves the state after `step` steps, all of it or nothing.

        Raises TransientError where that fails, as with no space left.
        """
        # The step that follows is given the state's buffers to overwrite.
        self._all.save(step, state, {}, wait=True)

    def __enter__(self) -> "TrainCheckpoints":
        self._all.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._all.__exit__(*exception)
