"""Orbax checkpoints of a run under way on one device."""

from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from smem_jax.errors import InputError


class TrainCheckpoints:
    """The latest state of a run under `workdir/checkpoints`; a context manager."""

    def __init__(self, workdir: Path):
        self._manager = ocp.CheckpointManager(
            (workdir / "checkpoints").resolve(), options=ocp.CheckpointManagerOptions(max_to_keep=1)
        )

    def restore(self, state: Any) -> tuple[int, Any]:
        """Steps taken and the state after them; 0 and `state` itself where nothing was saved.

        Raises InputError for a checkpoint whose arrays have other shapes than those of `state`.
        """
        step = self._manager.latest_step()
        if step is None:
            return 0, state
        like = jax.tree.map(ocp.utils.to_shape_dtype_struct, state)
        try:
            restored = self._manager.restore(step, args=ocp.args.StandardRestore(like))
        except (ValueError, KeyError, FileNotFoundError) as error:
            raise InputError(
                f"{self._manager.directory}: the checkpoint of step {step} is damaged or of "
                f"another run; --overwrite starts anew ({_first_line(error)})"
            ) from error
        return step, restored

    def save(self, step: int, state: Any) -> None:
        """Saves the state after `step` steps, all of it or nothing."""
        self._manager.save(step, args=ocp.args.StandardSave(state))
        # The step that follows is given the state's buffers to overwrite.
        self._manager.wait_until_finished()

    def __enter__(self) -> "TrainCheckpoints":
        return self

    def __exit__(self, *exception: object) -> None:
        self._manager.close()


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
