"""launch/local.sh and launch/gpu_host.sh, with stand-ins for `smem`."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

LAUNCH = Path(__file__).parents[2] / "launch"
JOB = ["--config", "job.py", "--workdir", "work"]
# Says by a file that it is there, then waits to be told to stop; process 1 may do otherwise.
WAITS = """
me=${*: -1}
trap ': >"TERM.$me"; exit 143' TERM
trap ': >"INT.$me"; exit 130' INT
: >"there.$me"
[ "$me" != 1 ] || %s
for _ in {1..600}; do sleep 0.05; done; exit 99
"""


def wait_for(folder, *names):
    until = time.monotonic() + 20
    while not all((folder / name).exists() for name in names):
        assert time.monotonic() < until, names
        time.sleep(0.02)


def test_two_processes_of_four_devices(machine):
    machine.fake("smem", 'echo "$JAX_PLATFORMS $XLA_FLAGS"; printf "no newline" >&2')
    done = machine.run("local.sh", *JOB, "a=1", "--port", "1234", "--", "--overwrite")
    assert done.returncode == 0, done.stderr
    calls = sorted(machine.calls("smem"), key=lambda call: call[call.index("--process-id") + 1])
    assert calls == [
        [
            *["train", *JOB, "--coordinator", "127.0.0.1:1234"],
            *["--num-processes", "2", "--process-id", str(i), "a=1", "--overwrite"],
        ]
        for i in range(2)
    ]
    assert sorted(done.stdout.splitlines()) == [
        line
        for i in range(2)
        for line in (
            f"[{i}] cpu --xla_force_host_platform_device_count=4",
            f"[{i}] no newline",
        )
    ]


def test_the_dry_run_prints_the_two_commands(machine):
    done = machine.run(
        "local.sh", *JOB, "a=(1, 2)", "--port", "1234", "--devices", "2", "--dry-run"
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    for i, line in enumerate(lines):
        assert line.startswith(
            "JAX_PLATFORMS=cpu XLA_FLAGS=--xla_force_host_platform_device_count=2 "
        )
        assert (
            f"--coordinator 127.0.0.1:1234 --num-processes 2 --process-id {i} a=\\(1\\,\\ 2\\)"
            in line
        )


@pytest.mark.parametrize("number, status", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_goes_on_to_both(machine, number, status):
    machine.fake("smem", WAITS % "true")
    script = machine.start([str(LAUNCH / "local.sh"), *JOB])
    wait_for(machine.folder, "there.0", "there.1")
    script.send_signal(number)
    script.communicate(timeout=20)
    assert script.returncode == status
    name = number.name.removeprefix("SIG")
    assert (machine.folder / f"{name}.0").exists() and (machine.folder / f"{name}.1").exists()


def test_when_one_fails_the_other_is_ended(machine):
    machine.fake("smem", WAITS % "{ while [ ! -f there.0 ]; do sleep 0.05; done; exit 7; }")
    done = machine.run("local.sh", *JOB)
    assert done.returncode == 7
    assert "a process ended with exit status 7; ending the others" in done.stderr
    assert (machine.folder / "TERM.0").exists()


def test_when_one_is_killed_one_that_hangs_is_killed_too(machine):
    hang = "me=${*: -1}; trap '' TERM; echo $$ >pid.$me; : >there.$me\n"
    machine.fake("smem", hang + "for _ in {1..600}; do sleep 0.05; done; exit 99")
    script = machine.start([str(LAUNCH / "local.sh"), *JOB], GRACE="1")
    wait_for(machine.folder, "there.0", "there.1")
    pids = [int((machine.folder / f"pid.{i}").read_text()) for i in range(2)]
    os.kill(pids[1], signal.SIGKILL)
    script.communicate(timeout=20)
    assert script.returncode == 137
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


FINDS = """
import sys
import jax
coordinator, processes, process = sys.argv[sys.argv.index("--coordinator") + 1 :: 2][:3]
jax.distributed.initialize(coordinator, int(processes), int(process))
print(jax.process_index(), jax.local_device_count(), jax.device_count(), flush=True)
jax.distributed.shutdown()
"""


def test_processes_of_jax_find_each_other(machine):
    (machine.folder / "finds.py").write_text(FINDS)
    done = machine.run("local.sh", *JOB, SMEM=f"{sys.executable} finds.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert {"[0] 0 4 8", "[1] 1 4 8"} <= set(done.stdout.splitlines())


def test_a_gpu_host_runs_one_process_with_the_memory_of_the_gpus(machine):
    machine.fake("nvidia-smi")
    machine.fake("smem", 'echo "$XLA_PYTHON_CLIENT_MEM_FRACTION"; exit 143')
    done = machine.run("gpu_host.sh", *JOB, "a=1", "--", "--overwrite")
    assert (done.returncode, done.stdout) == (143, "0.92\n")
    assert machine.calls("smem") == [["train", *JOB, "a=1", "--overwrite"]]
    dry = machine.run("gpu_host.sh", *JOB, "a=1", "--dry-run")
    assert dry.stdout == (
        "XLA_PYTHON_CLIENT_MEM_FRACTION=0.92 smem train --config job.py --workdir work a=1\n"
    )
