"""The search behind the quickstart's settings: what is learned against what is forgotten.

    python -m benchmarks.tune_quickstart [NAME ...]

Runs `smem teach` with each set of overrides below (or those that are named) under runs/tune/, one
after another, about six minutes each on 2 cores. A finished run is not run again, and one that
was cut off goes on. Then writes docs/tuning.json, where rows of runs that are not here stay as they
are, and prints the table of docs/tuning.md.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
_RUNS = _ROOT / "runs" / "tune"
_RESULT = _ROOT / "docs" / "tuning.json"

# Each differs from the defaults in what its name says.
SEARCH = {
    "default": [],
    "no_drift_penalty": ["train.drift_weight=0.0"],
    "drift_weight_100": ["train.drift_weight=100.0"],
    "drift_weight_2500": ["train.drift_weight=2500.0"],
    "top_t_1000": ["train.top_t=1000"],
    "top_t_16000": ["train.top_t=16000"],
    "block_10": ["memory.block=10"],
    "num_slots_2**14": ["memory.num_slots=16384"],
    "selection_tf": ["train.selection=tf"],
    "selection_random": ["train.selection=random"],
    "sgd": ["train.optimizer=sgd", "train.learning_rate=3000.0", "train.final_learning_rate=750.0"],
    "statements": ["facts.statements=True"],
}
_CHANGES = ("wikitext_nll", "nq_answer_nll", "nq_f1")


def main() -> None:
    """Runs what is missing and writes the results of all that is finished."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(SEARCH))
    names = parser.parse_args().names or list(SEARCH)
    for name in names:
        if name not in SEARCH:
            parser.error(f"{name!r} is none of {', '.join(SEARCH)}")
    for name in names:
        _run(name)
        _write()


def _run(name: str) -> None:
    workdir = _RUNS / name
    if (workdir / "summary.json").is_file():
        return
    command = [sys.executable, "-m", "smem_jax.cli", "teach", "--config", "configs/quickstart.py"]
    print(f"== {name}", flush=True)
    subprocess.run([*command, "--workdir", str(workdir), *SEARCH[name]], cwd=_ROOT, check=True)


def _write() -> None:
    before = {row["name"]: row for row in json.loads(_RESULT.read_text())}
    rows = []
    for name, overrides in SEARCH.items():
        path = _RUNS / name / "summary.json"
        if not path.is_file():
            rows += [before[name]] if name in before else []
            continue
        summary = json.loads(path.read_text())
        row = {"name": name, "overrides": overrides}
        for kind in ("taught_exact_match", "frame_exact_match"):
            row[kind] = summary[kind]["after"]
        for figure in _CHANGES:
            row[f"{figure}_change"] = summary[figure]["after"] - summary[figure]["before"]
        row["slots_updated"] = summary["slots_updated"]
        row["seconds_of_teaching"] = summary["seconds_by_part"]["teach"]
        rows.append(row)
    _RESULT.write_text(json.dumps(rows, indent=2) + "\n")
    print("| run | in other words | in another frame | WikiText-2 | NQ answers | NQ F1 | slots |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for row in rows:
        changes = " | ".join(f"{row[f'{figure}_change']:+.4f}" for figure in _CHANGES)
        learned = f"{row['taught_exact_match']:.0%} | {row['frame_exact_match']:.0%}"
        print(f"| {row['name']} | {learned} | {changes} | {row['slots_updated']:,} |")


if __name__ == "__main__":
    main()
