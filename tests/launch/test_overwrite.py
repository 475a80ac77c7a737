"""What starts a job anew by itself must not drop it each time."""

import subprocess
from pathlib import Path

import pytest

LAUNCH = Path(__file__).parents[2] / "launch"


@pytest.mark.parametrize("script", ["gke.sh", "tpu_vm.sh", "slurm.sh"])
def test_scripts_that_restart_refuse_overwrite(script):
    command = ["bash", str(LAUNCH / script), "--config", "c.py", "--", "--overwrite"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{script}: error: --overwrite would drop the run at each restart")
