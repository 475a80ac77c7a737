"""Checkpoints while the wall clock jumps back and ahead; `test_stream` has a whole run."""

import gc
import itertools
import os
import time

import clocks
import jax
import killed_restore
import numpy as np
import pytest

from smem_jax.errors import TransientError


def test_the_newest_checkpoints_are_kept_whatever_the_clock_and_the_files_say(
    tmp_path, monkeypatch
):
    wall = clocks.WallClock(monkeypatch)
    for first in (1, 4):
        with killed_restore.checkpoints(tmp_path) as checkpoints:
            for step in range(first, first + 3):
                checkpoints.save(step, killed_restore.state(step), {}, wait=True)
                wall.jump()
        for age, path in enumerate(sorted(tmp_path.iterdir())):
            os.utime(path, (age % 2 * 4e9, age % 2 * 4e9))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["4", "5", "6"]
    assert killed_restore.restore(str(tmp_path)).step == 6


@pytest.mark.filterwarnings("ignore:coroutine")
def test_a_clock_far_ahead_in_the_midst_of_a_save_ends_the_run_and_loses_nothing(
    tmp_path, monkeypatch
):
    with killed_restore.checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, killed_restore.state(1), {}, wait=True)
    hours = itertools.count(0, 2 * 3600)
    with monkeypatch.context() as patched, killed_restore.checkpoints(tmp_path) as checkpoints:
        now = time.time
        patched.setattr(time, "time", lambda: now() + next(hours))
        with pytest.raises(TransientError, match=r"saving step 2 failed .* goes on from there"):
            checkpoints.save(2, killed_restore.state(2), {}, wait=True)
    found = killed_restore.restore(str(tmp_path))
    expected = killed_restore.state(found.step)
    jax.tree.map(np.testing.assert_array_equal, found.arrays, expected)
    gc.collect()  # coroutines of Orbax that are to be warned of
