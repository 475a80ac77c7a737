"""Kills, full and read-only disks while patches are applied: a directory has the old ones or the
new.
"""

import random
import signal
import subprocess
import sys
import time

import own_mount
import patch_cases
import pytest

from smem_jax import patch as patches
from smem_jax.patch import directory

_LOOP = """
import pathlib, sys
from smem_jax.patch import directory
one, folder = map(pathlib.Path, sys.argv[1:])
print("ready", flush=True)
while True:
    directory.apply(one, folder)
    directory.revert("two", folder)
"""


@pytest.mark.slow
def test_a_killed_apply_or_revert_leaves_whole_patches(tmp_path):
    folder = tmp_path / "taught"
    first = patch_cases.make([1, 2], name="one")
    second = patch_cases.make(range(3, 60), name="two", seed=1)
    patches.save(first, folder / "patches" / "one.safetensors")
    patches.save(second, tmp_path / "two.safetensors")
    expected = [{first.identity}, {first.identity, second.identity}]
    seen = []
    for number in range(50):
        loop = subprocess.Popen(
            [sys.executable, "-c", _LOOP, str(tmp_path / "two.safetensors"), str(folder)],
            stdout=subprocess.PIPE,
        )
        assert loop.stdout.readline() == b"ready\n"
        time.sleep(random.Random(number).random() / 50)
        loop.send_signal(signal.SIGKILL)
        loop.wait()
        loop.stdout.close()
        found = {patch.identity for patch in directory.of(folder)}
        assert found in expected
        seen.append(expected.index(found))
        (folder / "patches" / "two.safetensors").unlink(missing_ok=True)
    assert {0, 1} == set(seen)


@pytest.mark.parametrize(
    ("options", "why"),
    [("size=4k", "No space left on device"), ("ro", "Read-only file system")],
    ids=["full", "read-only"],
)
def test_a_disk_that_takes_no_patch_is_named_and_keeps_nothing(tmp_path, options, why):
    own_mount.skip_unless_allowed(tmp_path)
    folder = tmp_path / "taught"
    folder.mkdir()
    file = tmp_path / "p.safetensors"
    patches.save(patch_cases.make(range(60)), file)
    assert file.stat().st_size > 4096
    apply = f'"{sys.executable}" -m smem_jax.cli patch apply "{file}" --workdir "{folder}"'
    script = f'{apply}; echo status $?; find "{folder}" -type f'
    done = subprocess.run(
        own_mount.command(options, folder, ["sh", "-c", script]), capture_output=True, text=True
    )
    assert done.stdout.splitlines() == ["status 2"]
    [line] = done.stderr.splitlines()
    assert line.startswith("smem: error: ") and why in line
