"""Sweeps of a run that takes no time, sleeps until it is killed, or waits for another sweep."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from smem_jax.errors import InputError
from smem_jax.train import result_lines
from smem_jax.train.sweep import sweep
from smem_jax.train.sweep_runs import grid, read_runs

CONFIG = """
from pathlib import Path
from smem_jax.train.sweep_runs import grid

def get_config():
    return {"text": str(Path(__file__).resolve().parent / "data" / "text.txt")}

def get_runs():
    return grid("sparse", **{"learner.top_t": TOP_T, "seed": (0, 1)})
"""
SLEEPER = """
import os, sys, time
from pathlib import Path
from ml_collections import ConfigDict
from smem_jax.train.sweep import sweep

def run(config, workdir):
    workdir.mkdir(parents=True, exist_ok=True)
    with (workdir / "starts").open("a") as file:
        file.write(f"{os.getpid()}\\n")
    if sys.argv[2] == "sleep":
        time.sleep(600)
    (folder / f"{os.getpid()}.both").touch()
    while len(list(folder.glob("*.both"))) < 2:
        time.sleep(0.01)
    return {"pid": os.getpid(), "seconds": 60.0, "seed": config.seed}

folder = Path(sys.argv[1])
defaults = ConfigDict({"text": "", "seed": 0, "learner": {"top_t": 5, "method": "sparse"}})
print(sweep(folder / "c.py", folder / "r.jsonl", folder / "work", run, defaults))
"""


def defaults() -> ConfigDict:
    return ConfigDict({"text": "", "seed": 0, "learner": {"top_t": 5, "method": "sparse"}})


class Recorder:
    """A run that only notes what it was called with; those of `bad` seeds fail."""

    def __init__(self, bad: tuple[int, ...] = ()):
        self.calls: list[tuple[int, int]] = []
        self.bad = bad

    def __call__(self, config: ConfigDict, workdir: Path) -> dict:
        self.calls.append((config.learner.top_t, config.seed))
        if config.seed in self.bad:
            raise InputError(f"facts.jsonl:3: seed {config.seed}\nis bad")
        (workdir / "checkpoints").mkdir(parents=True)
        (workdir / "checkpoints" / "big").write_text("")
        return {"seconds": 5400.0, "seed": config.seed, "figures": {}, "base": config.text}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_config(tmp_path, "(5, 9)")
    return tmp_path


def write_config(folder: Path, top_t: str) -> None:
    (folder / "c.py").write_text(CONFIG.replace("TOP_T", top_t))


def make(folder: Path, run, **options):
    return sweep(folder / "c.py", folder / "r.jsonl", folder / "work", run, defaults(), **options)


def lines(folder: Path) -> list[dict]:
    return [line for _, line in result_lines.results(folder / "r.jsonl")]


def test_every_run_is_made_once_and_its_checkpoints_dropped(folder, capsys):
    run = Recorder()
    found = make(folder, run)
    assert run.calls == [(5, 0), (5, 1), (9, 0), (9, 1)]
    assert found.done == [line["name"] for line in lines(folder)]
    assert lines(folder)[2]["config"]["learner"] == {"method": "sparse", "top_t": 9}
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "run 1 of 4: sparse_top_t5_seed0"
    assert shown[2] == "run 3 of 4: sparse_top_t9_seed0 (2 left, about 3 h 0 min)"
    assert not list(folder.glob("work/*/checkpoints"))
    make(folder, run)
    assert len(run.calls) == 4


def test_checkpoints_are_kept_on_request(folder):
    make(folder, Recorder(), keep_checkpoints=True)
    assert len(list(folder.glob("work/*/checkpoints/big"))) == 4


def test_results_outlive_new_fields_of_the_settings(folder):
    make(folder, first := Recorder())
    younger = defaults()
    younger.learner.limit = 0
    sweep(folder / "c.py", folder / "r.jsonl", folder / "work", first, younger)
    assert len(first.calls) == 4
    keys = {run.key for run in read_runs(folder / "c.py", younger)}
    (other,) = {r.key for r in read_runs(folder / "c.py", younger, ["learner.limit=3"])[:1]}
    assert len(keys) == 4 and other not in keys


def test_a_line_does_not_say_where_the_tree_lies(folder, tmp_path_factory):
    make(folder, Recorder())
    assert str(folder) not in (folder / "r.jsonl").read_text()
    other = tmp_path_factory.mktemp("elsewhere")
    write_config(other, "(5, 9)")
    keys = [run.key for run in read_runs(other / "c.py", defaults())]
    assert keys == [line["key"] for line in lines(folder)]
    assert lines(folder)[0]["base"] == "data/text.txt"


def test_only_takes_names_and_patterns(folder):
    run = Recorder()
    make(folder, run, only=["sparse_top_t9*", "sparse_top_t5_seed1"], overrides=["seed=7"])
    assert run.calls == [(5, 1), (9, 0), (9, 1)]
    with pytest.raises(InputError, match=r"no run 'sparse_top_t8'; the nearest is 'sparse_top_t"):
        make(folder, run, only=["sparse_top_t8"])


def test_a_failed_run_is_recorded_and_tried_by_the_next_sweep(folder, capsys):
    found = make(folder, Recorder(bad=(1,)))
    assert found.failed == ["sparse_top_t5_seed1", "sparse_top_t9_seed1"]
    assert "sparse_top_t9_seed1 failed: facts.jsonl:3: seed 1 is bad" in capsys.readouterr().out
    assert [line["status"] for line in lines(folder)] == ["done", "failed", "done", "failed"]
    assert lines(folder)[1]["error"] == "facts.jsonl:3: seed 1 is bad"
    run = Recorder()
    assert make(folder, run).failed == []
    assert run.calls == [(5, 1), (9, 1)]


def test_another_exception_ends_the_sweep(folder):
    def run(config, workdir):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        make(folder, run)
    assert lines(folder) == []


def test_a_changed_configuration_of_the_same_name_is_refused(folder):
    make(folder, Recorder())
    (folder / "c.py").write_text((folder / "c.py").read_text().replace("text.txt", "other.txt"))
    run = Recorder()
    with pytest.raises(InputError) as caught:
        make(folder, run)
    assert "r.jsonl:1: run 'sparse_top_t5_seed0' was made with text='data/text.txt', and is" in (
        str(caught.value)
    )
    assert "made with text='data/other.txt'" in str(caught.value)
    assert run.calls == []
    make(folder, run, overwrite=True)
    make(folder, run)
    assert len(run.calls) == 4 and len(lines(folder)) == 8


def test_so_is_a_default_that_was_changed_since(folder):
    make(folder, Recorder())
    changed = defaults()
    changed.learner.method = "full"
    paths = folder / "c.py", folder / "r.jsonl", folder / "work"
    for options in ({}, {"overwrite": True}):
        run = Recorder()
        with pytest.raises(InputError) as caught:
            sweep(*paths, run, changed, **options)
        assert "was made with learner.method='sparse', and is now to be" in str(caught.value)
        assert str(caught.value).endswith("so give it another name")
        assert run.calls == []


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ("3", r"c.py: it must define get_runs\(\), which returns a list"),
        ("[{'name': 'a'}]", "must have 'name' and 'overrides' alone"),
        ("[{'name': '../a', 'overrides': []}]", "name='../a' must be letters"),
        ("2 * [{'name': 'a', 'overrides': []}]", "two runs are named 'a'"),
        ("[{'name': 'a', 'overrides': ['sed=3']}]", "run 'a': .*the nearest is 'seed'"),
        ("[{'name': 'a', 'overrides': None}]", "overrides=None of run 'a' must be a list of texts"),
        ("[{'name': 'a', 'overrides': [3]}]", r"overrides=\[3\] of run 'a' must be a list"),
        ("[{'name': 'a', 'overrides': 'seed=1'}]", "overrides='seed=1' of run 'a' must be a list"),
        ("1 / 0", r"c.py:4: ZeroDivisionError"),
    ],
)
def test_a_bad_list_of_runs_is_named(tmp_path, runs, message):
    text = f"def get_config():\n    return {{}}\ndef get_runs():\n    return {runs}\n"
    (tmp_path / "c.py").write_text(text)
    with pytest.raises(InputError, match=message):
        make(tmp_path, Recorder())


def test_grid_names_are_directories():
    names = [run["name"] for run in grid("a", **{"x.model": ("b/c d",), "x.blocks": ((1, 2),)})]
    assert names == ["a_modelb-c-d_blocks1-2"]
    assert [run["name"] for run in grid("a", **{"x.y": (-1, 1)})] == ["a_y-1", "a_y1"]
    assert grid("lora", ["m=lora"]) == [{"name": "lora", "overrides": ["m=lora"]}]


def start(folder: Path, what: str) -> subprocess.Popen:
    command = [sys.executable, "-c", SLEEPER, str(folder), what]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for(condition, process: subprocess.Popen) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert process.poll() is None and time.monotonic() < until, process.communicate()[0]
        time.sleep(0.01)


def test_killed_sweeps_go_on_and_two_share_the_runs(folder):
    killed = start(folder, "sleep")
    wait_for(lambda: list(folder.glob("work/*/starts")), killed)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    (first,) = folder.glob("work/*/starts")
    (folder / "r.jsonl").write_text('{"name": "torn", "key')

    both = [start(folder, "wait for the other") for _ in range(2)]
    printed = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], printed
    found = lines(folder)
    assert sorted((line["name"], line["seed"]) for line in found) == [
        (f"sparse_top_t{t}_seed{seed}", seed) for t in (5, 9) for seed in (0, 1)
    ]
    assert {line["pid"] for line in found} == {process.pid for process in both}
    starts = {path: len(path.read_text().split()) for path in folder.glob("work/*/starts")}
    assert starts.pop(first) == 2  # killed and gone on with in the same directory
    assert set(starts.values()) == {1} and len(starts) == 3


def test_lines_after_a_torn_one_and_one_without_its_break(tmp_path):
    path = tmp_path / "r.jsonl"
    result_lines.append(path, {"name": "a"})
    with path.open("a") as file:
        file.write('{"name": "b", "x": [' + 100_000 * "1,")
    assert [line for _, line in result_lines.read(path)] == [{"name": "a"}]
    result_lines.append(path, {"name": "c"})
    assert path.read_text() == '{"name": "a"}\n{"name": "c"}\n'
    path.write_text(path.read_text().rstrip("\n"))
    assert len(result_lines.read(path)) == 2
    result_lines.append(path, {"name": "d"})
    assert [line["name"] for _, line in result_lines.read(path)] == ["a", "c", "d"]


@pytest.mark.parametrize(("text", "where"), [("[1]\n", ":1"), ('{"name": "a"}\n\n{"b\n', ":3")])
def test_a_damaged_line_is_named(tmp_path, text, where):
    path = tmp_path / "r.jsonl"
    path.write_text(text)
    with pytest.raises(InputError, match=rf"r.jsonl{where}: expected a JSON object"):
        result_lines.read(path)


def test_a_file_of_something_else_is_refused(folder):
    (folder / "r.jsonl").write_text(json.dumps({"step": 1}) + "\n")
    with pytest.raises(InputError, match=r"r.jsonl:1: no result of a run"):
        make(folder, Recorder())
