"""Each command that writes, where nothing can be written."""

import json
import subprocess
import sys
from pathlib import Path

import job_configs
import own_mount
import run_files
import sweep_lines
import tiny_patches
import tiny_stream
import tiny_teach
from ml_collections import ConfigDict

from smem_jax.patch import directory

# Commands in one process, one after another; the last one may end it.
_COMMANDS = """
import json, sys
from smem_jax import cli
for words in json.loads(sys.argv[1]):
    print("status", cli.main(words), file=sys.stderr, flush=True)
"""
_GET_RUNS = 'def get_runs():\n    return [{"name": "one", "overrides": []}]\n'


def _config(path: Path, config: ConfigDict, more: str = "") -> list[str]:
    path.write_text(f"def get_config():\n    return {config.to_dict()}\n{more}")
    return ["--config", str(path)]


def test_each_command_that_writes_names_the_directory_and_asking_needs_none(tmp_path):
    own_mount.skip_unless_allowed(tmp_path)
    read_only = tmp_path / "read_only"
    old, new = str(run_files.write(read_only / "old")), str(read_only / "new")
    for file in tiny_patches.write(tmp_path):
        directory.apply(file, Path(old))
    lines = str(sweep_lines.write(tmp_path / "r.jsonl", [sweep_lines.line("sparse", 0.9, 0.1)]))
    teach = _config(tmp_path / "teach.py", tiny_teach.config(tmp_path))
    stream = _config(tmp_path / "stream.py", tiny_stream.config(tmp_path))
    sweep = _config(tmp_path / "sweep.py", tiny_stream.config(tmp_path), _GET_RUNS)
    train = _config(tmp_path / "train.py", job_configs.tiny("pretrain", tmp_path))
    commands = [
        ["ask", "--workdir", old, "--max-tokens", "1", "Who?"],
        ["teach", *teach, "--workdir", new],
        ["teach", "--workdir", old, "--fact", "Who?", "Ada"],
        ["stream", *stream, "--workdir", new],
        ["sweep", *sweep, "--results", f"{new}/r.jsonl", "--workdirs", f"{new}/runs"],
        ["report", "--workdir", old],
        ["report", lines, "--output", f"{new}/RESULTS.md"],
        ["explain", *teach, "--output", new],
        ["background", *teach, "--output", f"{new}/background.safetensors"],
        ["export", "--workdir", old, "--output", new],
        ["patch", "save", "--workdir", old, "--output", f"{new}/p.safetensors"],
        ["patch", "revert", "a", "--workdir", old],
        ["train", *train, "--workdir", new],
    ]
    kept = [f"XDG_CACHE_HOME={read_only}/cache", f"MPLCONFIGDIR={tmp_path}"]
    words = ["env", *kept, sys.executable, "-c", _COMMANDS, json.dumps(commands)]
    done = subprocess.run(own_mount.read_only(read_only, words), capture_output=True, text=True)
    asked, *said = done.stderr.splitlines()
    assert asked == "status 0", done.stderr
    assert done.returncode == 2 and len(said) == 2 * len(commands) - 3, done.stderr
    for command, line in zip(commands[1:], said[::2], strict=True):
        assert line.startswith("smem: error: ") and str(read_only) in line, command
    assert said[1::2] == ["status 2"] * (len(commands) - 2)
