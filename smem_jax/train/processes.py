"""The processes of one job: how they find each other, agree, stop together, and keep others out."""

import fcntl
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, NoReturn

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from smem_jax.errors import InputError, TransientError
from smem_jax.train import files

# Seconds. Machines of a pod may start minutes apart. A process that is silent for `_HEARTBEAT` is
# taken for dead, and JAX ends the others; one that is done waits `_SHUTDOWN` for the others.
_START, _HEARTBEAT, _SHUTDOWN, _LEAVE = 300, 30, 60, 10


def start(
    distributed: bool = False,
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    *,
    timeout: int = _START,
) -> None:
    """Joins the processes of this job, before anything else asks JAX for its devices.

    `distributed` takes everything from the cluster (TPU pod, GKE, SLURM); or `coordinator`, the
    HOST:PORT of process 0, is given with both numbers. With neither the job is one process.

    Raises InputError for arguments that do not fit together, where no cluster is found, and where
    process 0 cannot listen. If not all processes have come after `timeout` seconds, the process
    ends with status 1 and one line on stderr.
    """
    arguments = _start_arguments(distributed, coordinator, num_processes, process_id)
    if arguments is None:
        return
    if process_id == 0:
        _check_free(coordinator)
    jax.config.update("jax_enable_preemption_service", True)
    # JAX itself would end the process with a stack trace.
    alarm = threading.Timer(timeout, _give_up, (coordinator, num_processes, process_id, timeout))
    alarm.daemon = True
    alarm.start()
    try:
        jax.distributed.initialize(
            **arguments,
            initialization_timeout=timeout + 60,
            heartbeat_timeout_seconds=_HEARTBEAT,
            shutdown_timeout_seconds=_SHUTDOWN,
        )
    except ValueError as error:
        raise InputError(_why_not(coordinator, error)) from error
    except RuntimeError as error:  # such as the coordinator of a start before, on its way out
        how = "--distributed" if coordinator is None else f"--coordinator {coordinator}"
        raise TransientError(f"{how}: cannot join the job ({_first_line(error)})") from error
    finally:
        alarm.cancel()


def gather(text: str) -> list[str]:
    """The text of every process, by process number; all have to call it at the same point."""
    if jax.process_count() == 1:
        return [text]
    data = np.frombuffer(text.encode(), np.uint8)
    lengths = multihost_utils.process_allgather(np.int32(data.size))
    width = 1 << int(lengths.max()).bit_length()  # few widths, so that few programs are compiled
    rows = multihost_utils.process_allgather(np.pad(data, (0, width - data.size)))
    return [bytes(row[:size]).decode() for row, size in zip(rows, lengths, strict=True)]


@contextmanager
def together() -> Iterator[None]:
    """Raises in all processes the InputError that any of them meets in the block.

    What else is raised stays with its process; JAX ends the others once that one is gone.
    """
    own = None
    try:
        yield
    except InputError as error:
        own = error
    messages = gather("" if own is None else str(own) or "bad input")
    if own is not None:
        raise own
    for process, message in enumerate(messages):
        if message:
            raise InputError(f"process {process}: {message}")


def leave(status: int) -> NoReturn:
    """Ends this process at once, threads and all, after an error.

    The way out of a job of several processes, where an ordinary exit waits for threads, which wait
    for processes that may never come. Waits up to 10 s for the others to leave too, so that each
    can say its error before JAX notices that process 0 is gone.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    if jax.distributed.is_initialized():
        try:
            barrier = ocp.multihost.get_barrier_sync_fn()
            barrier(key="smem_leave", timeout_ms=_LEAVE * 1000)
            if jax.process_index() == 0:
                time.sleep(1)
        except (RuntimeError, ValueError):
            pass  # the others are gone, or stuck
    os._exit(status)


class StopSignal:
    """SIGTERM as a request that the training loop answers; a context manager.

    In a job of several processes JAX catches the signal from `start` on, so that one process that
    gets it stops all of them at the same step.
    """

    def __init__(self) -> None:
        self._is_set = False
        self._before: Any = None

    def requested(self, step: int) -> bool:
        """Whether to save after `step` steps and end.

        Every process has to ask at every step, with the same numbers, which only grow.
        """
        if jax.distributed.is_initialized():
            return multihost_utils.reached_preemption_sync_point(step)
        return self._is_set

    def _set(self, _signal: int, _frame: FrameType | None) -> None:
        self._is_set = True

    def __enter__(self) -> "StopSignal":
        if not jax.distributed.is_initialized():
            self._before = signal.signal(signal.SIGTERM, self._set)
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)


class WorkdirLock:
    """Keeps a second job out of a work directory; a context manager.

    Process 0 holds an advisory lock on the file `.lock`, which stays there and must not be removed
    while a job runs. The kernel frees the lock when the process ends, by SIGKILL too. All processes
    enter together, and all raise InputError where another job has the lock or the directory cannot
    be written.
    """

    def __init__(self, workdir: Path):
        self._workdir = workdir
        self._file: Any = None

    def __enter__(self) -> "WorkdirLock":
        with together():
            if jax.process_index() == 0:
                try:
                    self._acquire()
                except OSError as error:
                    raise InputError(
                        f"{self._workdir}: cannot lock it: {error.strerror}"
                    ) from error
        return self

    def _acquire(self) -> None:
        self._workdir.mkdir(parents=True, exist_ok=True)
        file = (self._workdir / files.LOCK).open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.readline().strip() or "unknown"
            raise InputError(
                f"{self._workdir}: another job uses this work directory ({holder}); end it or "
                "give another --workdir"
            ) from error
        file.truncate(0)
        file.write(f"pid {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        self._file = file

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()


def _start_arguments(
    distributed: bool, coordinator: str | None, num_processes: int | None, process_id: int | None
) -> dict[str, Any] | None:
    by_hand = {
        "--coordinator": coordinator,
        "--num-processes": num_processes,
        "--process-id": process_id,
    }
    given = [name for name, value in by_hand.items() if value is not None]
    if not given:
        return {} if distributed else None
    if distributed:
        raise InputError(f"--distributed takes {given[0]} from the cluster; give one of the two")
    if len(given) < len(by_hand):
        missing = [name for name in by_hand if name not in given]
        raise InputError(f"{given[0]} is given without {' and '.join(missing)}")
    assert coordinator is not None and num_processes is not None and process_id is not None
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise InputError(f"--coordinator {coordinator}: HOST:PORT of process 0 is right")
    if num_processes < 1:
        raise InputError(f"--num-processes {num_processes}; at least 1 is right")
    if not 0 <= process_id < num_processes:
        raise InputError(f"--process-id {process_id}; 0 to {num_processes - 1} is right")
    return {
        "coordinator_address": coordinator,
        "num_processes": num_processes,
        "process_id": process_id,
        # Everything is said by hand, so what the environment says is not asked.
        "cluster_detection_method": "deactivate",
    }


def _check_free(coordinator: str | None) -> None:
    """Raises InputError where process 0 cannot listen, after which JAX would crash at its end."""
    assert coordinator is not None
    try:
        with socket.create_server(("", int(coordinator.rpartition(":")[2]))):
            pass
    except OSError as error:
        raise InputError(
            f"--coordinator {coordinator}: cannot listen on this port: {error.strerror}"
        ) from error


def _why_not(coordinator: str | None, error: Exception) -> str:
    if coordinator is None:
        return (
            "--distributed: no TPU pod, GKE or SLURM job found here; give --coordinator HOST:PORT "
            f"--num-processes N --process-id I ({_first_line(error)})"
        )
    return f"--coordinator {coordinator}: cannot join the job ({_first_line(error)})"


def _give_up(
    coordinator: str | None, num_processes: int | None, process_id: int | None, timeout: float
) -> None:
    if coordinator is None:
        what = "--distributed: not all processes of the job"
    elif process_id == 0:
        what = f"--coordinator {coordinator}: not all of the {num_processes} processes"
    else:
        what = f"--coordinator {coordinator}: process 0 or others of the {num_processes}"
    print(
        f"smem: error: {what} came within {timeout:g} s; start all of them, with the same address",
        file=sys.stderr,
        flush=True,
    )
    os._exit(1)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
