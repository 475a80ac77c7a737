"""The comparison of memory and dense pretraining: its table, its figure, and a small run of it."""

import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from benchmarks import pretraining_figure

_ROOT = Path(__file__).resolve().parents[2]


def row(model, seed, losses, purpose="comparison"):
    return {
        "purpose": purpose,
        "model": model,
        "seed": seed,
        "learning_rate": 0.003,
        "tokens_per_step": 2048,
        "flops_per_token": 15.1e6,
        "parameters": 2_412_000,
        "values": 3_145_728 if model == "memory" else 0,
        "held_out_loss": losses[-1],
        "curve": [[100 * (n + 1), loss] for n, loss in enumerate(losses)],
    }


ROWS = [
    row("memory", 0, [9.0, 8.0], "trial"),
    row("memory", 0, [5.0, 4.25]),
    row("dense", 0, [5.1, 4.5]),
    row("memory", 1, [5.2, 4.75]),
    row("dense", 1, [5.1, 4.5]),
]


def test_the_table_has_each_seed_and_the_difference_with_its_sign():
    lines = pretraining_figure.table(ROWS).splitlines()
    assert lines[2] == "| with memory | 2.41M | 3.15M | 15.100 | 0.003 | 4.250 | 4.750 |"
    assert lines[3].endswith(" 4.500 | 4.500 |") and "| 0.00M |" in lines[3]
    assert lines[4] == "| with memory, less dense | | | | | -0.250 | +0.250 |"
    assert {line.count("|") for line in lines} == {8}


def test_the_figure_is_svg_with_both_models_and_seeds():
    text = pretraining_figure.curves(ROWS)
    assert ElementTree.fromstring(text).tag.endswith("svg")
    for label in ("with memory", "dense", "seed 0", "seed 1", "tokens, millions"):
        assert label in text
    assert text == pretraining_figure.curves(ROWS)


@pytest.mark.slow
def test_it_runs_small_and_goes_on_with_what_is_done(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("\n".join(f"line {n} of {n * n % 97} words" for n in range(300)))
    page = tmp_path / "pretraining.md"
    page.write_text("before\n<!-- table:begin -->\n<!-- table:end -->\nafter\n")
    output = tmp_path / "rows.json"
    overrides = (f"data.source=text:{text}", f"data.held_out_source=text:{text}")
    sizes = ("data.tokenizer=bytes", "train.steps=12", "train.evaluate_every=6", "data.seq_len=32")
    command = [sys.executable, "-m", "benchmarks.pretraining", "--seeds", "0"]
    command += ["--learning-rates", "0.01", "--workdir", str(tmp_path / "runs")]
    command += ["--output", str(output), "--docs", str(tmp_path)]
    command += [*overrides, *sizes, "pretrain.warmup_steps=1", "memory.num_slots=256"]
    texts = []
    for _ in range(2):
        done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        texts.append(output.read_text())
    rows = json.loads(texts[0])["rows"]
    assert [(r["purpose"], r["model"]) for r in rows] == [
        (purpose, model) for purpose in ("trial", "comparison") for model in ("memory", "dense")
    ]
    assert [step for step, _ in rows[-1]["curve"]] == [6, 12]
    assert texts[0] == texts[1]
    assert "| dense |" in page.read_text() and page.read_text().endswith("-->\nafter\n")
    assert (tmp_path / "pretraining.svg").is_file()
