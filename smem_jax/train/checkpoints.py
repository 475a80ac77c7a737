"""Orbax checkpoints: of a run under way, and of what was learned in the end."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from smem_jax.errors import InputError
from smem_jax.memory.layer import MemoryLayer

_MEMORY = "memory"


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


class LearnedRows(NamedTuple):
    """The rows of a value table that training changed: `slots` int32 [num_rows] ascending, and
    `values` [num_rows, value_dim].
    """

    slots: np.ndarray
    values: np.ndarray


def save_learned(workdir: Path, learned: LearnedRows) -> None:
    """Writes what a run learned to `workdir/memory`."""
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save((workdir / _MEMORY).resolve(), learned._asdict(), force=True)


def load_learned(workdir: Path) -> LearnedRows:
    """Reads what `save_learned` wrote; InputError where it is missing or damaged."""
    path = (workdir / _MEMORY).resolve()
    if not path.is_dir():
        raise InputError(f"{workdir}: no finished run here ({path.name}/ is missing)")
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            return LearnedRows(**{k: np.asarray(v) for k, v in checkpointer.restore(path).items()})
    except (ValueError, KeyError, TypeError, FileNotFoundError) as error:
        raise InputError(f"{path}: damaged checkpoint ({_first_line(error)})") from error


def put(layer: MemoryLayer, learned: LearnedRows) -> None:
    """Writes the learned rows into the layer's table, in place; all other rows stay.

    Raises InputError for rows that the table does not have, or of another width.
    """
    num_slots, value_dim = layer.table.values.shape
    if learned.values.shape[1:] != (value_dim,) or (learned.slots >= num_slots).any():
        raise InputError(
            f"learned rows of shape {learned.values.shape} up to slot {learned.slots.max()} do not "
            f"fit a table of {num_slots} slots of width {value_dim}"
        )
    values = layer.table.values[...]
    rows = jnp.asarray(learned.values, values.dtype)
    layer.table.values[...] = values.at[jnp.asarray(learned.slots)].set(rows)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
