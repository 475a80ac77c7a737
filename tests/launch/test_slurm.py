"""launch/slurm.sh: what it submits, and what the batch script does about signals."""

import signal
import time

import pytest

ARGUMENTS = ["--nodes", "2", "--gpus-per-node", "4", "--config", "job.py", "--workdir", "runs/1b/"]


@pytest.fixture
def script(machine):
    """Submits to a stand-in of sbatch, and gives the path of the batch script that it got."""
    machine.fake("sbatch", "cat >batch.sh")
    machine.fake("smem")
    done = machine.run("slurm.sh", *ARGUMENTS, "--sbatch", "--partition=gpu", "a.b=(1, 2)")
    assert done.returncode == 0, done.stderr
    return machine.folder / "batch.sh"


def test_what_is_submitted(machine, script):
    [call] = machine.calls("sbatch")
    for option in (
        "--nodes=2",
        "--ntasks-per-node=4",
        "--gpus-per-node=4",
        "--requeue",
        "--signal=B:USR1@180",
        "--open-mode=append",
        "--output=runs/1b.slurm-%j.log",
        "--partition=gpu",
    ):
        assert option in call
    # Else every process would see one GPU, number 0, and ask JAX for the one of its own number.
    assert not any(word.startswith(("--gpus-per-task", "--gpu-bind")) for word in call)
    assert (machine.folder / "runs").is_dir()


def test_a_dry_run_says_the_same(machine, script):
    dry = machine.run(
        "slurm.sh", *ARGUMENTS, "--sbatch", "--partition=gpu", "a.b=(1, 2)", "--dry-run"
    )
    command, _, rest = dry.stdout.partition("\n")
    assert command.split()[:-1] == ["sbatch", *machine.calls("sbatch")[0]]
    assert rest == script.read_text() + "END\n"


def test_every_task_runs_the_job(machine, script):
    machine.fake("srun", "exit 3")
    batch = machine.start(["bash", str(script)], SLURM_JOB_ID="17")
    batch.communicate(timeout=20)
    assert batch.returncode == 3
    [call] = machine.calls("srun")
    first = call.index("smem")
    assert all(word.startswith("--") for word in call[:first])
    assert call[first:] == [
        *["smem", "train", "--distributed", "--config", "job.py", "--workdir", "runs/1b"],
        "a.b=(1, 2)",
    ]


def run_until_signalled(machine, script, number):
    """Runs the batch script, whose step saves and ends with 143 when told; sends it a signal."""
    machine.fake(
        "srun",
        "echo $$ >step; trap 'exit 143' TERM; for _ in {1..600}; do sleep 0.05; done; exit 99",
    )
    machine.fake("scancel", "read -r step <step; kill -s TERM $step")
    machine.fake("scontrol")
    batch = machine.start(["bash", str(script)], SLURM_JOB_ID="17")
    until = time.monotonic() + 20
    while not (machine.folder / "step").exists() or not (machine.folder / "step").read_text():
        assert time.monotonic() < until
        time.sleep(0.02)
    batch.send_signal(number)
    if number == signal.SIGTERM:
        # `scancel` by a user, or a preemption, tells the step, too.
        time.sleep(0.1)
        assert batch.poll() is None
        step = machine.start(["bash", "-c", "read -r step <step; kill -s TERM $step"])
        step.communicate(timeout=20)
    batch.communicate(timeout=20)
    return batch.returncode


def test_near_its_time_limit_a_job_saves_and_is_put_back_into_the_queue(machine, script):
    assert run_until_signalled(machine, script, signal.SIGUSR1) == 143
    assert machine.calls("scancel") == [["--signal=TERM", "17"]]
    assert machine.calls("scontrol") == [["requeue", "17"]]


def test_a_cancelled_job_waits_for_its_step_and_does_not_come_back(machine, script):
    assert run_until_signalled(machine, script, signal.SIGTERM) == 143
    assert machine.calls("scontrol") == []
