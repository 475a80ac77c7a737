"""Runs of two processes that are killed, stopped, starved of space, and started again."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import kills
import pytest

_TOY = Path(__file__).parents[1] / "fixtures" / "toy_run.py"


def _toy(workdir: Path, *options: str) -> Callable[[int, int], list[str]]:
    def command(process: int, port: int) -> list[str]:
        return [
            *(sys.executable, str(_TOY), "--workdir", str(workdir), *options),
            *("--port", str(port), "--processes", "2", "--id", str(process)),
        ]

    return command


def _final(workdir: Path) -> list[dict]:
    return [json.loads((workdir / f"final-{i}.json").read_text()) for i in range(2)]


_STEPS = ("--steps", "40", "--every", "4", "--seconds-per-step", "0.02")


@pytest.fixture(scope="module")
def left_alone(tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("left_alone")
    life = kills.Job(_toy(workdir, *_STEPS), 2).finish()
    assert life.statuses == [0, 0], life.outputs
    return workdir


def test_both_processes_end_with_the_same_state_and_their_own_shards(left_alone):
    first, second = _final(left_alone)
    assert first["state"] == second["state"]
    assert first["read"] == {"shard-0": 40, "shard-2": 40}
    assert second["read"] == {"shard-1": 40, "shard-3": 40}


@pytest.mark.slow
def test_killed_twice_it_ends_bit_for_bit_like_one_left_alone(left_alone, tmp_path):
    saves_into = tmp_path / "checkpoints"
    command = _toy(tmp_path, *_STEPS)
    lives = kills.run_with_kills(
        command, 2, num_kills=2, seed=3, saves_into=saves_into, saves_per_life=1
    )
    assert [life.end for life in lives] == ["killed", "killed while saving", "ended"]
    assert lives[-1].statuses == [0, 0], lives[-1].outputs
    assert "from step 0 " not in lives[-1].outputs[0]
    assert _final(tmp_path) == _final(left_alone)


@pytest.mark.slow
def test_one_sigterm_stops_both_at_one_step_and_the_run_goes_on_past_damage(left_alone, tmp_path):
    job = kills.Job(_toy(tmp_path, *_STEPS), 2)
    kills.wait_for_saves(job, tmp_path / "checkpoints", 2)
    job.processes[1].terminate()
    life = job.finish()
    assert life.statuses == [143, 143], life.outputs
    stopped = {line for text in life.outputs for line in text.splitlines() if "stopped" in line}
    step = kills.newest(tmp_path / "checkpoints")
    assert stopped == {f"stopped after step {step}"}
    # What process 1 wrote, which process 0 reads no part of.
    data = (tmp_path / "checkpoints" / str(step) / "arrays" / "ocdbt.process_1" / "d").iterdir()
    for path in data:
        path.write_bytes(path.read_bytes()[:10])
    life = kills.Job(_toy(tmp_path, *_STEPS), 2).finish()
    assert life.statuses == [0, 0], life.outputs
    warnings = [line for text in life.outputs for line in text.splitlines() if "damaged" in line]
    assert len(warnings) == 1 and f"the checkpoint of step {step} is damaged" in warnings[0]
    assert (tmp_path / "checkpoints" / f"damaged-{step}").is_dir()
    assert _final(tmp_path) == _final(left_alone)


def test_another_number_of_processes_gets_all_positions(left_alone, tmp_path):
    workdir = shutil.copytree(left_alone, tmp_path / "copy")
    options = ["--steps", "40", "--devices", "2"]
    life = kills.Job(lambda *_: [sys.executable, str(_TOY), "--workdir", str(workdir), *options], 1)
    done = life.finish()
    assert done.statuses == [0], done.outputs
    read = [(f"shard-{shard}", 40) for shard in range(4)]
    assert f"from step 40 with {read}" in done.outputs[0].splitlines()
    assert _final(workdir)[0]["state"] == _final(left_alone)[0]["state"]


@pytest.mark.slow
@pytest.mark.parametrize("starved", [(0,), (1,), (0, 1)])
def test_no_space_in_any_process_ends_all_with_one_line_each(tmp_path, starved):
    def command(process: int, port: int) -> list[str]:
        limit = "50000" if process in starved else "0"
        return _toy(tmp_path, "--steps", "20", "--file-limit", limit)(process, port)

    life = kills.Job(command, 2).finish()
    assert life.statuses == [2, 2], life.outputs
    for text in life.outputs:
        errors = [line for line in text.splitlines() if "smem: error" in line]
        assert len(errors) == 1 and "saving step 12 failed" in errors[0], text
        assert "complete: [4, 8]" in text and "Traceback" not in text


@pytest.mark.slow
def test_when_one_process_dies_the_other_ends_with_an_error_within_about_a_minute(tmp_path):
    job = kills.Job(_toy(tmp_path, "--steps", "100000"), 2)
    kills.wait_for_saves(job, tmp_path / "checkpoints", 1)
    job.processes[1].kill()
    assert job.processes[0].wait(timeout=90) not in (0, None)
    job.finish()
