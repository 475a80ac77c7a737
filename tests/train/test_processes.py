import os
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import kills
import pytest

from smem_jax.errors import InputError
from smem_jax.train import processes

_TOY = Path(__file__).parents[1] / "fixtures" / "toy_run.py"


def _python(code: str, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", textwrap.dedent(code), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((True, "host:1", None, None), "--distributed takes --coordinator from the cluster"),
        ((False, "host:1", None, 0), "--coordinator is given without --num-processes"),
        ((False, None, 2, None), "is given without --coordinator and --process-id"),
        ((False, "host", 2, 0), "--coordinator host: HOST:PORT of process 0 is right"),
        ((False, "host:99999", 2, 0), "--coordinator host:99999: HOST:PORT"),
        ((False, "host:1", 0, 0), "--num-processes 0; at least 1 is right"),
        ((False, "host:1", 2, 2), "--process-id 2; 0 to 1 is right"),
    ],
)
def test_arguments_that_do_not_fit_together_are_input_errors(arguments, message):
    with pytest.raises(InputError) as caught:
        processes.start(*arguments)
    assert message in str(caught.value)


def test_without_arguments_the_job_is_one_process():
    processes.start()
    assert processes.gather("alone") == ["alone"]
    with pytest.raises(InputError, match="bad"), processes.together():
        raise InputError("bad")


_START = """
    import sys
    from smem_jax.train import processes
    coordinator, number, own = sys.argv[1:]
    try:
        processes.start(False, coordinator, int(number), int(own), timeout=1)
    except processes.InputError as error:
        sys.exit(str(error))
"""


@pytest.mark.parametrize("own", ["0", "1"])
def test_processes_that_do_not_come_are_one_line_and_a_failure_to_try_again(own):
    coordinator = f"127.0.0.1:{kills.free_port()}"
    done = _python(_START, coordinator, "2", own)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(f"smem: error: --coordinator {coordinator}: ")
    assert "came within 1 s" in done.stderr


def test_a_port_in_use_is_an_input_error():
    with socket.create_server(("127.0.0.1", 0)) as server:
        coordinator = f"127.0.0.1:{server.getsockname()[1]}"
        done = _python(_START, coordinator, "2", "0")
    assert done.returncode == 1
    assert f"--coordinator {coordinator}: cannot listen on this port" in done.stderr


def test_without_a_cluster_distributed_says_what_to_give_instead():
    code = """
        from smem_jax.train import processes
        processes.start(True)
    """
    others = ("SLURM", "JAX_", "OMPI")
    env = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, env=env
    )
    last = done.stderr.splitlines()[-1]
    assert last.startswith("smem_jax.errors.InputError: --distributed: no TPU pod, GKE or SLURM")
    assert "--coordinator HOST:PORT" in last


def test_sigterm_is_a_request_and_what_was_there_before_is_restored():
    before = signal.getsignal(signal.SIGTERM)
    with processes.StopSignal() as stop:
        assert not stop.requested(1)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.requested(2)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_stopped_run_of_one_process_saves_and_goes_on(tmp_path):
    toy = [sys.executable, str(_TOY), "--workdir", str(tmp_path), "--steps", "400"]
    job = kills.Job(lambda *_: [*toy, "--seconds-per-step", "0.01"], 1)
    kills.wait_for_saves(job, tmp_path / "checkpoints", 1)
    job.processes[0].terminate()
    life = job.finish()
    assert life.statuses == [143], life.outputs
    step = kills.newest(tmp_path / "checkpoints")
    assert f"stopped after step {step}\n" in life.outputs[0]


_HOLD = """
    import sys, time
    from pathlib import Path
    from smem_jax.train.processes import WorkdirLock
    with WorkdirLock(Path(sys.argv[1])):
        print("held", flush=True)
        time.sleep(60)
"""


def test_a_second_job_on_a_work_directory_is_refused_until_the_first_is_killed(tmp_path):
    workdir = tmp_path / "new" / "workdir"
    command = [sys.executable, "-c", textwrap.dedent(_HOLD), str(workdir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout.readline() == "held\n"
            with pytest.raises(InputError) as caught, processes.WorkdirLock(workdir):
                pass
            message = str(caught.value)
            assert message.startswith(f"{workdir}: another job uses this work directory")
            assert f"(pid {holder.pid} on {os.uname().nodename})" in message
        finally:
            holder.send_signal(signal.SIGKILL)
    with processes.WorkdirLock(workdir):
        pass
    with processes.WorkdirLock(workdir):
        pass


def test_a_work_directory_that_cannot_be_made_is_an_input_error(tmp_path):
    (tmp_path / "file").touch()
    lock = processes.WorkdirLock(tmp_path / "file" / "workdir")
    with pytest.raises(InputError, match="file/workdir: cannot lock it: Not a directory"), lock:
        pass


_TOGETHER = """
    import sys
    from smem_jax.train import processes
    port, own = int(sys.argv[1]), int(sys.argv[2])
    processes.start(False, f"127.0.0.1:{port}", 2, own)
    print(processes.gather("x" * (own * 300) + "é"), flush=True)
    try:
        with processes.together():
            if own == 1:
                raise processes.InputError("no such file")
    except processes.InputError as error:
        print("error:", error, flush=True)
        processes.leave(2)
"""


def test_all_processes_raise_what_one_of_them_meets():
    code = textwrap.dedent(_TOGETHER)
    job = kills.Job(lambda own, port: [sys.executable, "-c", code, str(port), str(own)], 2)
    life = job.finish()
    assert life.statuses == [2, 2], life.outputs
    for text, message in zip(
        life.outputs, ("process 1: no such file", "no such file"), strict=True
    ):
        lines = [line for line in text.splitlines() if "Gloo" not in line]
        assert lines == [str(["é", "x" * 300 + "é"]), f"error: {message}"]
