"""Why later facts of a stream are learned less well, and what would help.

    smem sweep --config configs/sweeps/facts.py --results RESULTS --only NAME --keep-checkpoints
    python -m benchmarks.later_facts --patch runs/sweep/NAME-HASH/memory.safetensors [--seed N]
        [--facts N] [--only PART] [SECTION.FIELD=VALUE ...]

The next facts behind those of a stream of configs/stream_facts.py are taught by
`smem_jax.train.teacher`, once to a memory in which nothing is taught and once behind all that the
stream taught, with the settings of the stream and with one thing changed. They are the same facts
each time, so what differs is not how hard they are, but which rows are left and what those of other
facts say; where these are silenced, only which rows are left. Measured are recall
in other words and as trained, with 95 % intervals by the bootstrap over facts, and what is kept of
the known set. Writes benchmarks/results/later_facts.json after each part; what is there already is
not made again. About seven minutes of two CPU cores a part.
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from benchmarks import timing
from benchmarks.patches import teach, without_table
from smem_jax import config as config_module
from smem_jax import patch as patches
from smem_jax.evaluate import bootstrap
from smem_jax.stream_settings import stream_defaults
from smem_jax.train import stream_inputs
from smem_jax.train.recall_matrix import RecallMatrix
from smem_jax.train.stream_inputs import Inputs

_ROOT = Path(__file__).resolve().parents[1]
_KNOWN_ALONE = [f"evaluate.{task}=" for task in ("nq", "gsm8k", "mmlu", "trivia_choices")]
_KNOWN_ALONE += ["evaluate.untaught=", "evaluate.wikitext="]
# The rows of the stream, and what is set otherwise.
PARTS: dict[str, tuple[str, list[str]]] = {
    "nothing taught before": ("none", []),
    "behind the stream": ("heard", []),
    "behind the stream, silenced": ("silent", []),
    "behind it, 600 slots": ("heard", ["learner.top_t=600"]),
}


def main() -> None:
    """Teaches, measures and writes, part by part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patch", type=Path, required=True, help="what the stream taught")
    parser.add_argument("--seed", type=int, default=0, help="of the stream")
    parser.add_argument("--facts", type=int, default=100)
    parser.add_argument("--only", action="append", choices=PARTS)
    parser.add_argument("--output", type=Path, default=timing.RESULTS / "later_facts.json")
    parser.add_argument("overrides", nargs="*", metavar="SECTION.FIELD=VALUE")
    args = parser.parse_args()
    patch = patches.load(args.patch)
    before, identity = patches.combined([patch]), patch.identity[:16]
    del patch
    taught = len(before.lessons)
    made = json.loads(args.output.read_text())["rows"] if args.output.is_file() else []
    rows = {row["part"]: row for row in made}
    inputs = None
    for part in args.only or PARTS:
        key = {
            "part": part,
            "seed": args.seed,
            "patch": identity,
            "taught_before": taught,
            "facts": args.facts,
            "overrides": args.overrides,
        }
        if rows.get(part, {}).items() >= key.items():
            continue
        how, changed = PARTS[part]
        overrides = [f"seed={args.seed}", f"lessons.count={taught + args.facts}", *_KNOWN_ALONE]
        path = _ROOT / "configs" / "stream_facts.py"
        config = config_module.load(
            path, [*overrides, *args.overrides, *changed], stream_defaults()
        )
        if inputs is None:
            inputs = stream_inputs.load(config)
            without_table(inputs)
        found = _taught(config, inputs, rows_before(how, before), taught)
        rows[part] = key | found
        columns = {"part": "", "reworded": ".3f", "trained": ".3f", "known": ".4f", "slots": ""}
        timing.show([rows[part]], columns)
        timing.write("later_facts", list(rows.values()), args.output)


def rows_before(how: str, before: patches.Combined) -> patches.Combined | None:
    """What was taught before, 'heard' or 'silent', with its slots taken; None for 'none'."""
    if how == "none":
        return None
    return before if how == "heard" else before._replace(rows=np.zeros_like(before.rows))


def _taught(
    config: ConfigDict, inputs: Inputs, known: patches.Combined | None, first: int
) -> dict[str, Any]:
    """Teaches the lessons from `first` on, and asks about them."""
    lessons = inputs.lessons[first:]
    started = time.monotonic()
    teacher = teach(config, inputs, lessons, "teaching", known)
    model = teacher.model()
    recall = RecallMatrix(inputs.tokenizer, lessons, len(lessons)).shares(model, len(lessons))
    tasks = stream_inputs.suite(config, inputs.tokenizer)
    return {
        **_with_interval("reworded", recall["reworded"]),
        **_with_interval("trained", recall["trained"]),
        "known": float(np.mean(tasks.measure(model)["known"])),
        "slots": len(teacher.learned().slots),
        "seconds": time.monotonic() - started,
    }


def _with_interval(name: str, shares: Sequence[float]) -> dict[str, float]:
    low, high = bootstrap.interval(np.asarray(shares, np.float64))
    return {name: float(np.mean(shares)), f"{name}_low": low, f"{name}_high": high}


if __name__ == "__main__":
    jax.config.update("jax_platforms", "cpu")
    main()
