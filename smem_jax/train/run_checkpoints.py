"""Checkpoints of a run on many devices: written while it goes on, checked when they are read."""

import gc
import json
import sys
import threading
import time
import warnings
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from smem_jax.errors import InputError, TransientError
from smem_jax.train import checkpoint_record, orbax_errors
from smem_jax.train.fingerprints import fingerprints
from smem_jax.train.processes import gather, together

_ARRAYS, _RECORD = "arrays", "record"
_SAVE_TIMEOUT = 3600  # seconds


class Restored(NamedTuple):
    """What was saved after `step` steps: `arrays` placed as asked for, and the merged `position`
    of all processes.
    """

    step: int
    arrays: Any
    position: dict[str, Any]


class RunCheckpoints:
    """The checkpoints of one run under `directory/STEP`, the newest `keep`; a context manager.

    All processes of the job make one, on one shared directory, and call its methods at the same
    points with the same steps. A checkpoint appears as a whole or not at all, and an older one is
    removed only after a newer one is complete, so there has to be space for `keep` + 1.

    `config_json`, a JSON object, says what run it is: what was saved under another one is refused.
    With `read_only` nothing in the directory is changed, which may be that of a run under way, and
    a part of what was saved can be restored.

    Raises InputError where the directory cannot be made.
    """

    def __init__(self, directory: Path, *, keep: int, config_json: str, read_only: bool = False):
        self._directory = directory.resolve()
        self._config = json.loads(config_json)
        self._saved: int | None = None
        self._failure = ""
        self._read_only = read_only
        self._caller = threading.get_ident()
        with together():
            try:
                if jax.process_index() == 0 and not read_only:
                    self._directory.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise InputError(f"{self._directory}: {error.strerror}") from error
        self._quiet = ExitStack()
        self._quiet.enter_context(orbax_errors.not_logged())
        self._quiet.enter_context(orbax_errors.not_printed())
        self._manager = _Manager(
            self._directory,
            options=ocp.CheckpointManagerOptions(
                max_to_keep=None if read_only else keep,
                cleanup_tmp_directories=not read_only,
                read_only=read_only,
                async_options=ocp.AsyncOptions(
                    timeout_secs=_SAVE_TIMEOUT, barrier_sync_fn=self._barrier
                ),
            ),
            item_names=(_ARRAYS, _RECORD),
        )

    def prepare(self, arrays: Any) -> None:
        """Compiles what saves of such arrays need, so that the first is as short as the others."""
        fingerprints(checkpoint_record.by_name(arrays))

    def save(
        self, step: int, arrays: Any, position: dict[str, Any], *, wait: bool = False
    ) -> float:
        """Starts to save the state after `step` steps; returns the seconds it held the caller up,
        those until the arrays are computed not among them.

        The arrays, a pytree of `jax.Array`, may be donated as soon as this returns. `position` is
        what this process alone knows, such as how far its share of the data is read: a JSON object
        with strings for keys, merged with those of the others; what two processes both give has to
        be equal (ValueError). With `wait` it returns only when the checkpoint is complete. The step
        that was saved or restored last is not saved again.

        Raises TransientError, in all processes, where this or the previous save failed, as with no
        space left; the checkpoints before it are still there.
        """
        jax.block_until_ready(arrays)
        start = time.monotonic()
        positions = self._settle(position)
        if step != self._saved:
            named = checkpoint_record.by_name(arrays)
            record = checkpoint_record.record(self._config, named, positions)
            # Orbax refuses arrays without elements.
            full = {name: array for name, array in named.items() if array.size}
            items = {
                _ARRAYS: ocp.args.StandardSave(full),
                _RECORD: ocp.args.JsonSave(record),
            }
            self._saved = step
            try:
                self._manager.save(step, args=ocp.args.Composite(**items), force=True)
            except (OSError, ValueError) as error:
                self._failure = self._failure or self._failed(error)
                raise TransientError(self._failure) from error
        if wait:
            self.wait()
        return time.monotonic() - start

    def restore(self, like: Any) -> Restored | None:
        """The newest good checkpoint, or None where there is none at all.

        `like` is a pytree as it was saved, of `jax.ShapeDtypeStruct` with `sharding`, on any mesh.
        Every array is compared with its fingerprint. A damaged checkpoint is named on stderr and
        renamed to `damaged-STEP` if there is an older good one.

        Raises InputError for a checkpoint of another configuration or of other arrays, and where
        all are damaged.
        """
        wanted = checkpoint_record.by_name(like)
        damaged: dict[int, str] = {}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
            found = self._newest_good(wanted, damaged)
            if damaged:
                gc.collect()  # coroutines of Orbax that are to be warned of
        if found is None:
            if damaged:
                reasons = "; ".join(f"step {step}: {reason}" for step, reason in damaged.items())
                raise InputError(
                    f"{self._directory}: every checkpoint is damaged ({reasons}); --overwrite "
                    "starts anew"
                )
            return None
        step, arrays, content = found
        self._set_aside(damaged, step)
        self._saved = step
        leaves = [arrays[name] for name in wanted]
        tree = jax.tree.unflatten(jax.tree.structure(like), leaves)
        return Restored(step, tree, content["position"])

    def steps(self) -> list[int]:
        """Those that are saved; InputError where process 0 sees some that another one does not."""
        steps: list[int] = json.loads(gather(json.dumps(sorted(self._manager.all_steps())))[0])
        with together():
            for step in steps:
                if not (self._directory / str(step)).is_dir():
                    raise InputError(
                        f"{self._directory}/{step} is not there on every host; a directory that "
                        "all processes share is right"
                    )
        return steps

    def wait(self) -> None:
        """Waits until the last save is complete; raises InputError as `save` does."""
        self._settle({})
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits for the last save and frees what is held; raises InputError as `save` does."""
        if not self._failure:
            self.wait()
            self._manager.close()

    def __enter__(self) -> "RunCheckpoints":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_rest: object) -> None:
        # After an error the other processes may never come to where this one would wait for them.
        if kind is None or jax.process_count() == 1:
            self.close()
        self._quiet.close()

    def _settle(self, position: dict[str, Any]) -> list[dict[str, Any]]:
        """Waits for the save under way, in all processes; returns the position of each.

        A process whose share failed leaves the others waiting within Orbax, in threads, so success
        is agreed upon here, outside of it.
        """
        while True:
            busy = not self._failure and self._manager.is_saving_in_progress()
            replies = [json.loads(r) for r in gather(json.dumps([self._failure, busy, position]))]
            self._failure = next((reply[0] for reply in replies if reply[0]), "")
            if self._failure:
                raise TransientError(self._failure)
            if not any(reply[1] for reply in replies):
                return [reply[2] for reply in replies]
            time.sleep(0.02)

    def _failed(self, error: BaseException) -> str:
        why = orbax_errors.why(error)
        return (
            f"{self._directory}: saving step {self._saved} failed ({why}); the checkpoint before "
            "it is kept, and the same command goes on from there"
        )

    def _barrier(self, *, key: str, timeout_ms: int) -> None:
        """Meets the other processes; Orbax calls it at the end of a failed save too."""
        error = sys.exc_info()[1]
        # In the caller's thread it is one that the caller handles, as it saves after an interrupt.
        if error is not None and threading.get_ident() != self._caller:
            self._failure = self._failed(error)
            raise error
        ocp.multihost.get_barrier_sync_fn()(key=key, timeout_ms=timeout_ms)

    def _newest_good(
        self, wanted: Mapping[str, Any], damaged: dict[int, str]
    ) -> tuple[int, dict[str, jax.Array], dict[str, Any]] | None:
        """Its step, arrays and record; into `damaged` goes what is wrong with newer ones."""
        for step in reversed(self.steps()):
            try:
                content = self._read_record(step)
                with together():
                    where = self._directory / str(step)
                    checkpoint_record.check_same_run(
                        where, content, self._config, wanted, in_part=self._read_only
                    )
                arrays = self._read_arrays(step, wanted)
                _compare(fingerprints(arrays), content["fingerprints"])
            except _Damaged as error:
                damaged[step] = str(error)
                continue
            return step, arrays, content
        return None

    def _read_record(self, step: int) -> dict[str, Any]:
        content, reason = {}, ""
        try:
            content = checkpoint_record.read(self._directory / str(step) / _RECORD / "metadata")
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = f"its record cannot be read: {orbax_errors.why(error)}"
        _agree(reason)
        return content

    def _read_arrays(self, step: int, wanted: Mapping[str, Any]) -> dict[str, jax.Array]:
        full = {name: array for name, array in wanted.items() if array.size}
        arrays: dict[str, jax.Array] = {}
        reason = ""
        try:
            # A handler by itself: a whole checkpointer would wait for the other processes, which
            # may have failed to read.
            arrays = ocp.PyTreeCheckpointHandler().restore(
                self._manager.directory / str(step) / _ARRAYS,
                args=ocp.args.PyTreeRestore(
                    item=full,
                    restore_args=ocp.checkpoint_utils.construct_restore_args(full),
                    partial_restore=self._read_only,
                ),
            )
        except Exception as error:  # Orbax raises that very class for a file that is cut
            if isinstance(orbax_errors.cause(error), MemoryError | jax.errors.JaxRuntimeError):
                raise
            reason = f"its arrays cannot be read: {orbax_errors.why(error)}"
        _agree(reason)
        for name, array in wanted.items():
            if not array.size:
                arrays[name] = jnp.zeros(array.shape, array.dtype, device=array.sharding)
        return arrays

    def _set_aside(self, damaged: Mapping[int, str], good: int) -> None:
        with together():
            for step, reason in damaged.items() if jax.process_index() == 0 else ():
                there = self._directory / str(step)
                try:
                    aside = there if self._read_only else _renamed(there, f"damaged-{step}")
                except OSError as error:
                    raise InputError(
                        f"{there} is damaged ({reason}) and cannot be renamed: {error.strerror}"
                    ) from error
                print(
                    f"smem: warning: the checkpoint of step {step} is damaged ({reason}); it is "
                    f"kept as {aside}, and that of step {good} is used",
                    file=sys.stderr,
                    flush=True,
                )
        if damaged and not self._read_only:
            self._manager.reload()


class _Manager(ocp.CheckpointManager):
    def reached_preemption(self, step: int) -> bool:
        # The training loop asks for it, once a step. Orbax would ask from another thread for an
        # older step, and processes could then miss the step at which all of them stop.
        return False


class _Damaged(Exception):
    """A checkpoint is not what was written; the message is a reason in one line."""


def _agree(reason: str) -> None:
    """Raises `_Damaged` in all processes where any has a reason."""
    for found in gather(reason):
        if found:
            raise _Damaged(found)


def _compare(found: Mapping[str, str], saved: Mapping[str, str]) -> None:
    changed = [name for name in found if found[name] != saved[name]]
    more = f", nor are {len(changed) - 1} other arrays" if len(changed) > 1 else ""
    _agree(f"{changed[0]} is not what was saved{more}" if changed else "")


def _renamed(path: Path, name: str) -> Path:
    """Gives it the name, or the first of `name-2`, `name-3`... that is free."""
    number, free = 1, path.with_name(name)
    while free.exists():
        number += 1
        free = path.with_name(f"{name}-{number}")
    return path.rename(free)
