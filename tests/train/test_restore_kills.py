"""SIGKILL while a checkpoint is restored, a damaged newer one beside it or not."""

import random
import shutil
import signal
from pathlib import Path

import forks
import jax
import killed_restore
import numpy as np
import pytest


@pytest.mark.slow
@pytest.mark.parametrize("is_damaged", [False, True], ids=["good", "damaged"])
def test_killed_25_times_the_next_restore_has_every_bit(is_damaged, tmp_path):
    saved = tmp_path / "saved"
    with killed_restore.checkpoints(saved) as checkpoints:
        for step in (1, 2, 3):
            checkpoints.save(step, killed_restore.state(step), {"read": step})
    good = 2 if is_damaged else 3
    if is_damaged:
        shutil.rmtree(saved / "3" / "arrays")
    expected = jax.tree.map(np.asarray, killed_restore.state(good))
    chance = random.Random(0)
    kills, ends = 0, []
    with forks.Forks("killed_restore.restore") as work:
        status, whole = work.run(shutil.copytree(saved, tmp_path / "whole"))
        assert status == 0
        while kills < 25:
            directory = shutil.copytree(saved, tmp_path / str(len(ends)))
            status, seconds = work.run(directory, longest=whole * chance.uniform(0.3, 1.1))
            if status == -signal.SIGKILL:
                kills += 1
            else:
                assert status == 0
                whole = seconds  # what takes long depends on what else the machine does
            ends.append(_names(directory))
            assert ends[-1] in (["1", "2", "3"], ["1", "2", "damaged-3"])
            found = killed_restore.restore(str(directory))
            assert (found.step, found.position) == (good, {"read": good})
            jax.tree.map(np.testing.assert_array_equal, found.arrays, expected)
            assert _names(directory) == ["1", "2", "damaged-3" if is_damaged else "3"]
    print(f"{ends.count(['1', '2', '3'])} of {len(ends)} left step 3 where it was")


def _names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())
