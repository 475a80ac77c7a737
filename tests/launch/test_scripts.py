"""What all scripts of launch/ have in common."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

LAUNCH = Path(__file__).parents[2] / "launch"
JOB = ["--config", "job.py", "--workdir", "work"]
CLOUD = ["--config", "job.py", "--workdir", "gs://bucket/run", "--name", "run", "--image", "image"]
# Enough arguments for each script to do its work, and the tools that it cannot do without.
COMPLETE = {
    "local.sh": (JOB, ["smem"]),
    "gpu_host.sh": (JOB, ["nvidia-smi", "smem"]),
    "slurm.sh": ([*JOB, "--nodes", "2"], ["sbatch", "smem"]),
    "gke.sh": ([*CLOUD, "--topology", "v5p:2x2x4"], ["kubectl"]),
    "tpu_vm.sh": ([*CLOUD, "--topology", "v5p:2x2x4", "--zone", "us-east5-a"], ["gcloud"]),
}
SCRIPTS = sorted(COMPLETE)


def test_every_script_is_tested():
    assert sorted(path.name for path in LAUNCH.glob("*.sh")) == sorted([*SCRIPTS, "options.sh"])


def test_shellcheck_finds_nothing():
    shellcheck = Path(sys.executable).parent / "shellcheck"
    scripts = [str(LAUNCH / script) for script in SCRIPTS]
    done = subprocess.run(
        [str(shellcheck), "--norc", "--severity=style", "--external-sources", *scripts],
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_names_every_option(machine, script):
    done = machine.run(script, "--help")
    assert done.returncode == 0 and done.stderr == ""
    assert not any(line.startswith(("#", "set ")) for line in done.stdout.splitlines())
    text = (LAUNCH / script).read_text()
    (names,) = re.findall(r"^valued='([^']*)' flags='([^']*)'$", text, flags=re.MULTILINE)
    options = {f"--{name}" for name in " ".join(names).split()}
    assert {"--config", "--workdir", "--dry-run"} <= options
    for option in options:
        assert option in done.stdout, option


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_dry_run_needs_and_does_nothing(machine, script):
    arguments, _ = COMPLETE[script]
    before = sorted(machine.folder.rglob("*"))
    done = machine.run(script, *arguments, "--dry-run")
    assert done.returncode == 0 and done.stderr == ""
    assert "job.py" in done.stdout
    assert sorted(machine.folder.rglob("*")) == before


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_missing_tool_is_named(machine, refused, script):
    arguments, tools = COMPLETE[script]
    for tool in tools:
        assert tool in refused(script, *arguments)
        machine.fake(tool)


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_missing_argument_is_named(refused, script):
    arguments, _ = COMPLETE[script]
    for i in range(0, len(arguments), 2):
        without = arguments[:i] + arguments[i + 2 :]
        assert f"{arguments[i]} is missing" in refused(script, *without)
        assert f"{arguments[i]} needs a value" in refused(script, *without, arguments[i])


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("word", ["--bogus", "bogus", "-x"])
def test_an_unknown_argument_is_named(refused, script, word):
    assert f"unknown argument '{word}'" in refused(script, *COMPLETE[script][0], word)


@pytest.mark.parametrize("script", ["slurm.sh", "gke.sh", "tpu_vm.sh"])
def test_a_config_that_is_missing_is_noticed_before_the_queue(refused, script):
    arguments = [word.replace("job.py", "other.py") for word in COMPLETE[script][0]]
    assert "other.py: no such file" in refused(script, *arguments)


@pytest.mark.parametrize(
    "script, wrong, message",
    [
        ("local.sh", ["--num-processes", "0"], "--num-processes is '0'"),
        ("local.sh", ["--port", "70000"], "--port is '70000'"),
        ("slurm.sh", ["--nodes", "two"], "--nodes is 'two'"),
        ("slurm.sh", ["--gpus-per-node", "0"], "--gpus-per-node is '0'"),
        ("gke.sh", ["--name", "My_Run"], "--name is 'My_Run'"),
        ("gke.sh", ["--max-restarts", "-1"], "--max-restarts is '-1'"),
        ("gke.sh", ["--max-restarts", "08"], "--max-restarts is '08'"),
        ("gke.sh", ["--name image", "x"], "unknown argument '--name image'"),
        ("gke.sh", ["--workdir", "/work"], "--workdir is '/work'; it has to be gs://BUCKET/PATH"),
        ("gke.sh", ["--workdir", "gs://bucket"], "has to be gs://BUCKET/PATH"),
        ("gke.sh", ["--topology", "h100:8"], "the chip has to be v4, v5e, v5p, v6e or tpu7x"),
        ("gke.sh", ["--topology", "v5p:2x2x3"], "the shape of a v5p slice is one of 2x2x1"),
        ("gke.sh", ["--topology", "v5p:8x4x4"], "multiples of 4 with A <= B <= C"),
        ("gke.sh", ["--topology", "v6e:4x4x4"], "the shape of a v6e slice is one of 1x1"),
        ("tpu_vm.sh", ["--topology", "tpu7x:2x2x1"], "the chip has to be v4, v5e, v5p or v6e"),
        ("tpu_vm.sh", ["--topology", "v5p:4x4x16"], "the shape of a v5p slice is one of 2x2x1"),
        ("tpu_vm.sh", ["--workdir", "gs://b/"], "has to be gs://BUCKET/PATH"),
        ("tpu_vm.sh", ["--spot", "--reserved"], "--spot and --reserved exclude each other"),
    ],
)
def test_wrong_values_are_named(refused, script, wrong, message):
    assert message in refused(script, *COMPLETE[script][0], *wrong)
