"""Memory patches: what storage costs, what merging costs, and how fast they go on and off.

    python -m benchmarks.patches [--only PART] [--output FILE] [--workdir DIR] [FIELD=VALUE ...]

Two patches are taught apart from each other, the first `--facts` (100) of configs/stream_facts.py
and the next, by `smem_jax.train.teacher` (in one pass, as in the stream), and kept in the work
directory. Recall is of questions in words that were not trained on and of the trained ones, by
greedy decoding. `apply` puts a patch of `--lessons` (1,000) of 300 rows (random ones, as low_rank)
on a table of `--slots` (2**20) rows of width 576 and takes it off. Writes
benchmarks/results/patches.json; takes about half an hour of two CPU cores; patches that were taught
are not taught again. With `--only apply` or `--only recall` the rows of the other part stay as they
are.
"""

import argparse
import dataclasses
import json
import resource
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tqdm
from ml_collections import ConfigDict

from benchmarks import timing
from smem_jax import config as config_module
from smem_jax import patch as patches
from smem_jax.data.lessons import Lesson
from smem_jax.evaluate.patched import put_on
from smem_jax.memory.relevance import Relevance
from smem_jax.memory.tables import CompactTable
from smem_jax.models.retrofit import memory_layer
from smem_jax.patch import storage
from smem_jax.stream_settings import stream_defaults
from smem_jax.train import stream_inputs
from smem_jax.train.recall_matrix import RecallMatrix
from smem_jax.train.stream_inputs import Inputs
from smem_jax.train.teacher import Teacher

_ROOT = Path(__file__).resolve().parents[1]
_ROWS, _WIDTH = 300, 576
_ROUNDS = 5


def main() -> None:
    """Teaches, measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=("apply", "recall"))
    parser.add_argument("--output", type=Path)
    parser.add_argument("--workdir", type=Path, default=Path("runs/patches"))
    parser.add_argument("--facts", type=int, default=100)
    parser.add_argument("--lessons", type=int, default=1000)
    parser.add_argument("--slots", type=int, default=2**20)
    parser.add_argument("overrides", nargs="*", metavar="SECTION.FIELD=VALUE")
    args = parser.parse_args()
    rows = []
    for part in ("apply", "recall"):
        if args.only not in (None, part):
            before = json.loads((args.output or timing.RESULTS / "patches.json").read_text())
            rows += [row for row in before["rows"] if row["part"] == part]
        elif part == "apply":
            rows.append(_apply(args.lessons, args.slots))
        else:
            found = _recall(args.facts, args.overrides, args.workdir)
            rows += [{"part": part, **row} for row in found]
    columns = {"what": "", "mb": ".2f", "first": ".3f", "second": ".3f", "seconds": ".2f"}
    timing.show(rows, columns)
    timing.write("patches", rows, args.output)


def _apply(num_lessons: int, num_slots: int) -> dict[str, Any]:
    """Seconds, medians, and what is held beside the table while a patch goes on or off."""
    random = np.random.default_rng(0)
    starts = np.arange(num_lessons + 1, dtype=np.int32) * _ROWS
    slots = random.permutation(num_slots)[: num_lessons * _ROWS].astype(np.int32)
    scales = np.full((num_lessons, storage.RANK), 0.1, np.float16)
    rows = storage.LowRank(
        random.integers(0, 256, (len(slots), storage.RANK // 2), np.uint8),
        scales,
        random.integers(0, 256, (num_lessons, storage.RANK, _WIDTH // 2), np.uint8),
        scales,
        starts,
    )
    about = patches.About("big", "none", "", {"num_slots": num_slots}, "", Relevance(32, 32))
    patch = patches.Patch(about, slots, starts, rows, None)
    # Written once, so that all of its pages are counted before.
    zeroed = jax.jit(lambda table: table * 0, donate_argnums=0)
    table = patches.PatchedTable(zeroed(jnp.full((num_slots, _WIDTH), 1.0)).block_until_ready())
    few = storage.encode(np.ones((1, _WIDTH), np.float32), np.asarray([0, 1]), "float32")
    small = dataclasses.replace(patch, slots=slots[:1], starts=starts[:2] // _ROWS, rows=few)
    table.apply(small)  # compiles
    table.revert("big")
    held = _peak_bytes()
    seconds: dict[str, list[float]] = {"apply": [], "revert": []}
    for _ in range(_ROUNDS):
        for name, call in (
            ("apply", lambda: table.apply(patch)),
            ("revert", lambda: table.revert("big")),
        ):
            started = time.perf_counter()
            call()
            table.values.block_until_ready()
            seconds[name].append(time.perf_counter() - started)
    assert not np.asarray(table.values[slots[:1000]]).any()
    return {
        "part": "apply",
        "what": f"{num_lessons:,} lessons on a table of {num_slots:,} rows",
        "seconds": float(np.median(seconds["apply"])),
        "revert_seconds": float(np.median(seconds["revert"])),
        "mb": (_peak_bytes() - held) / 1e6,
        "rounds": _ROUNDS,
    }


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _without_table(inputs: Inputs) -> None:
    """Rows are those of patches here; a table of all slots is not needed."""
    layer = memory_layer(inputs.model, inputs.block)
    layer.table = CompactTable.empty(layer.config)


def _recall(size: int, overrides: Sequence[str], workdir: Path) -> Iterator[dict[str, Any]]:
    """What is recalled of two patches, stored and merged in each way."""
    path = _ROOT / "configs" / "stream_facts.py"
    config = config_module.load(path, [f"lessons.count={2 * size}", *overrides], stream_defaults())
    inputs = stream_inputs.load(config)
    _without_table(inputs)
    halves = inputs.lessons[:size], inputs.lessons[size:]
    taught = [
        _taught(config, inputs, lessons, workdir / f"{name}.safetensors")
        for name, lessons in zip(("first", "second"), halves, strict=True)
    ]
    small = [patches.restored(patch, storage="low_rank") for patch in taught]
    asked = [RecallMatrix(inputs.tokenizer, lessons, size) for lessons in halves]

    def shares(given: Sequence[patches.Patch], number: int) -> dict[str, float]:
        model = put_on(inputs.model, inputs.block, patches.combined(given))
        found = asked[number].shares(model, size)
        name = ("first", "second")[number]
        return {
            name: float(np.nanmean(found["reworded"])),
            f"{name}_trained": float(np.nanmean(found["trained"])),
        }

    for kind in storage.STORAGES:
        stored = [patches.restored(patch, storage=kind) for patch in taught]
        size = sum(array.nbytes for array in stored[0].rows.arrays.values())
        yield {
            "what": f"each alone, {kind}",
            "mb": (size + stored[0].slots.nbytes) / 1e6,
            **shares(stored[:1], 0),
            **shares(stored[1:], 1),
        }
    both = {"both on": small}
    contested = 0
    for rule in ("first", "last", "sum", "move"):
        merged = patches.merge(taught, rule, name="both")
        both[f"merged, {rule}"] = [patches.restored(merged.patch, storage="low_rank")]
        contested = len(merged.contested)
    for name, given in both.items():
        yield {
            "what": f"{name}, low_rank",
            "contested": contested,
            **shares(given, 0),
            **shares(given, 1),
        }


def _taught(
    config: ConfigDict, inputs: Inputs, lessons: Sequence[Lesson], path: Path
) -> patches.Patch:
    """The patch of some lessons, from its file where it is there."""
    if path.is_file():
        return patches.load(path)
    assert inputs.background is not None
    teacher = Teacher(
        inputs.model,
        inputs.tokenizer,
        inputs.block,
        inputs.background,
        config.learner,
        config.lessons.lengths,
    )
    for lesson in tqdm.tqdm(lessons, desc=path.stem):
        teacher.teach(lesson)
    patch = patches.make(
        teacher.learned(),
        memory_layer(inputs.model, inputs.block),
        name=path.stem,
        base=config.model,
        fingerprint=inputs.fingerprint,
        memory=config.memory.to_dict(),
        relevance=teacher.relevance,
    )
    patches.save(patch, path)
    return patch


if __name__ == "__main__":
    jax.config.update("jax_platforms", "cpu")
    main()
