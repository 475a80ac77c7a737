"""The benchmarks run, small, and write the rows that they promise; no time is looked at."""

import json
import os
import subprocess
import sys
from pathlib import Path

import patch_cases
import pytest
import tiny_stream

from benchmarks import later_facts
from smem_jax import patch as patches

_ROOT = Path(__file__).resolve().parents[2]
_SMALL = ["--tokens", "16", "--reads", "8", "--value-dim", "32", "--rounds", "2"]


def _rows(tmp_path, module, *arguments):
    """The rows that a benchmark writes, in a process of its own as its docstring says."""
    output = tmp_path / "rows.json"
    command = [sys.executable, "-m", f"benchmarks.{module}", *arguments, "--output", str(output)]
    own_cache = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, env=own_cache)
    assert done.returncode == 0, done.stderr
    result = json.loads(output.read_text())
    assert result["machine"]["jax"]
    return result["rows"]


def test_lookup(tmp_path):
    rows = _rows(tmp_path, "lookup", "--num-slots", "1024", *_SMALL)
    ours = [row for row in rows if row["implementation"] == "smem_jax xla"]
    assert {(row["op"], row["dtype"]) for row in ours} == {
        (op, dtype) for op in ("forward", "backward") for dtype in ("float32", "bfloat16")
    }
    for row in rows:
        assert row["num_slots"] == 1024
        assert row["seconds_median"] > 0 and row["bytes_per_second"] > 0
        assert row["of_copy_bandwidth"] > 0 and "ratio_to_pytorch" in row


def test_step(tmp_path):
    sizes = ["--against-dense", "2**10", "--sizes", "2**14", "2**15"]
    rows = _rows(tmp_path, "step", *sizes, *_SMALL)
    assert {"smem_jax", "jax dense, masked"} <= {row["implementation"] for row in rows}
    over_sizes = [row for row in rows if "beyond_table" in row]
    assert {row["num_slots"] for row in over_sizes} == {2**14, 2**15}
    assert all(row["ratio_to_smallest"] > 0 for row in over_sizes)


@pytest.mark.slow
def test_gpu_check(tmp_path):
    arguments = ("--implementations", "xla", "base", "--without-large")
    rows = _rows(tmp_path, "gpu_check", *arguments)
    assert all(row["same_bits"] and row["error"] < 1e-5 for row in rows)


def test_gpu_script_says_that_there_is_no_gpu(tmp_path):
    environment = os.environ | {"PYTHON": sys.executable, "JAX_PLATFORMS": "cpu"}
    script = ["bash", "benchmarks/gpu.sh", str(tmp_path)]
    done = subprocess.run(script, cwd=_ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 2
    assert done.stderr.endswith("one of NVIDIA's, Ampere or later, is right\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_finetuning(tmp_path):
    rows = _rows(tmp_path, "finetuning", "--sizes", "2**10", "2**12", "--rounds", "1")
    assert [row["num_slots"] for row in rows] == [2**10, 2**12]


def _tiny(folder):
    """What makes a configuration of streams one of a tiny model and four facts."""
    c = tiny_stream.config(folder, count=4)
    fields = {
        "model": c.model,
        "cache": c.cache,
        "background.text": c.background.text,
        "background.questions": c.background.questions,
        "lessons.file": c.lessons.file,
        "lessons.passages": 8,
        "lessons.lengths": (64,),
        "lessons.skip_known": False,
        **{f"memory.{name}": c.memory[name] for name in ("block", "num_heads", "top_k", "key_dim")},
        "memory.num_slots": 1024,
        "learner.top_t": 12,
        "learner.relevance_threshold": 1,
    }
    return [f"{name}={value}" for name, value in fields.items()], c


def test_relevance(tmp_path):
    overrides, c = _tiny(tmp_path)
    evaluate = [f"evaluate.{task}={c.evaluate[task]}" for task in ("known", "wikitext")]
    evaluate.append(f"evaluate.untaught={c.background.questions}")
    figure = tmp_path / "figure.svg"
    given = ["--config", "configs/stream_facts.py", "--figure", str(figure), "lessons.count=4"]
    rows = _rows(tmp_path, "relevance", *given, *overrides, *evaluate)
    taught, known, untaught, text = rows
    assert [taught["lessons"], known["count"], untaught["count"]] == [4, 8, 8]
    for row in rows:
        shares = [row[f"open_at_{threshold}"] for threshold in (8, 16, 32, 64)]
        assert shares == sorted(shares, reverse=True)
    # Nothing has more of a lesson's rows in a window than there are reads.
    assert 0 < taught["median"] <= 32 * 2 * 4 and text["count"] > 0
    assert "never taught" in figure.read_text()


@pytest.mark.slow
def test_patches_and_ask(tmp_path):
    overrides, c = _tiny(tmp_path)
    sizes = ("--facts", "2", "--lessons", "4", "--slots", "2048", "--workdir", str(tmp_path))
    rows = _rows(tmp_path, "patches", *sizes, *overrides)
    assert rows[0]["seconds"] > 0 and rows[0]["what"] == "4 lessons on a table of 2,048 rows"
    kinds = [row["what"].partition(",")[0] for row in rows[1:]]
    assert kinds == ["each alone"] * 4 + ["both on"] + ["merged"] * 4
    for row in rows[1:]:
        assert 0 <= row["first"] <= 1 and 0 <= row["second_trained"] <= 1
    [taught] = map(str, tmp_path.glob("first-*.safetensors"))
    [row] = _rows(tmp_path, "ask", "--patch", taught, "--rounds", "1")
    assert row["first_token_seconds"] > 0 and row["tokens_per_second"] > 0
    assert row["rows"] == 24
    (tmp_path / "rows.json").unlink()
    given = ["--patch", taught, "--facts", "2"]
    known = f"evaluate.known={c.evaluate.known}"
    rows = _rows(tmp_path, "later_facts", *given, *overrides, known)
    assert [row["part"] for row in rows] == list(later_facts.PARTS)
    assert all(row["taught_before"] == row["facts"] == 2 for row in rows)
    for row in rows:
        assert 0 <= row["reworded_low"] <= row["reworded"] <= row["reworded_high"] <= 1
    first, behind, silenced, more = (row["slots"] for row in rows)
    assert first == behind == silenced == 24 < more
    stream = ["--stream", taught, "lessons.count=2"]
    rows = _rows(tmp_path, "patches", "--only", "stream", *stream, *overrides)
    kinds = [row["what"].rpartition(", ")[2] for row in rows if row["part"] == "stream"]
    assert kinds[:2] == ["float32", "low_rank"] and rows[-1]["seconds"] > 0


@pytest.mark.parametrize("how", sorted({how for how, _ in later_facts.PARTS.values()}))
def test_rows_of_a_stream_are_heard_or_silent_or_none(how):
    patch = patch_cases.make([5, 3, 60], starts=[0, 1, 3])
    whole = patches.combined([patch])
    found = later_facts.rows_before(how, whole)
    if how == "none":
        assert found is None
    else:
        assert found.slots.tolist() == whole.slots.tolist()
        assert found.rows.any(axis=1).tolist() == [how == "heard"] * 3
