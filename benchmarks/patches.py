"""Memory patches: what storage costs, what merging costs, and how fast they go on and off.

    python -m benchmarks.patches [--only PART] [--output FILE] [--workdir DIR] [--stream FILE]
        [FIELD=VALUE ...]

Two patches are taught apart from each other, the first `--facts` (100) of configs/stream_facts.py
and the next, by `smem_jax.train.teacher` (in one pass, as in the stream), and kept in the work
directory. Recall is of questions in words that were not trained on and of the trained ones, by
greedy decoding. `apply` puts a patch of `--lessons` (1,000) of 300 rows (random ones, as low_rank)
on a table of `--slots` (2**20) rows of width 576 and takes it off. With `--stream`, the patch that
a `smem stream` of configs/stream_facts.py left in its work directory is stored as low_rank, put on
and taken off, and its facts are asked; `seed=N` where the stream had another one. Writes
benchmarks/results/patches.json; takes about a quarter of an hour of two CPU cores; patches that
were taught are not taught again. With `--only apply`, `recall` or `stream` the rows of the other
parts stay as they are.
"""

import argparse
import dataclasses
import hashlib
import json
import multiprocessing
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
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
from smem_jax.patch import low_rank, storage
from smem_jax.stream_settings import stream_defaults
from smem_jax.train import stream_inputs
from smem_jax.train.recall_matrix import RecallMatrix
from smem_jax.train.stream_inputs import Inputs
from smem_jax.train.teacher import Teacher

_ROOT = Path(__file__).resolve().parents[1]
_ROWS, _WIDTH = 300, 576
_ROUNDS = 5
_PARTS = ("apply", "recall", "stream")


def main() -> None:
    """Teaches, measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=_PARTS)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--workdir", type=Path, default=Path("runs/patches"))
    parser.add_argument("--stream", type=Path, metavar="FILE", help="what a stream taught")
    parser.add_argument("--facts", type=int, default=100)
    parser.add_argument("--lessons", type=int, default=1000)
    parser.add_argument("--slots", type=int, default=2**20)
    parser.add_argument("overrides", nargs="*", metavar="SECTION.FIELD=VALUE")
    args = parser.parse_args()
    if args.only == "stream" and args.stream is None:
        parser.error("--only stream needs --stream FILE")
    rows = []
    kept = args.output or timing.RESULTS / "patches.json"
    before = json.loads(kept.read_text())["rows"] if kept.is_file() else []
    for part in _PARTS:
        if args.only not in (None, part) or (part == "stream" and args.stream is None):
            rows += [row for row in before if row["part"] == part]
        elif part == "stream":
            rows += [{"part": part, **row} for row in _stream(args.stream, args.overrides)]
        elif part == "apply":
            rows.append(_apply(args.lessons, args.slots))
        else:
            found = _recall(args.facts, args.overrides, args.workdir)
            rows += [{"part": part, **row} for row in found]
    columns = {"what": "", "mb": ".2f", "first": ".3f", "second": ".3f", "seconds": ".2f"}
    timing.show(rows, columns)
    timing.write("patches", rows, args.output)


def _apply(num_lessons: int, num_slots: int) -> dict[str, Any]:
    """A patch of random rows goes on and off."""
    random = np.random.default_rng(0)
    starts = np.arange(num_lessons + 1, dtype=np.int32) * _ROWS
    slots = random.permutation(num_slots)[: num_lessons * _ROWS].astype(np.int32)
    scales = np.full((num_lessons, storage.RANK), 0.1, np.float16)
    rows = low_rank.LowRank(
        random.integers(0, 256, (len(slots), storage.RANK // 2), np.uint8),
        scales,
        random.integers(0, 256, (num_lessons, storage.RANK, _WIDTH // 2), np.uint8),
        scales,
        starts,
    )
    about = patches.About("big", "none", "", {"num_slots": num_slots}, "", Relevance(32, 32))
    patch = patches.Patch(about, slots, starts, rows, None)
    return {
        "part": "apply",
        "what": f"{num_lessons:,} lessons on a table of {num_slots:,} rows",
        **_on_and_off(patch),
    }


def _on_and_off_file(path: Path) -> dict[str, Any]:
    jax.config.update("jax_platforms", "cpu")
    return _on_and_off(patches.load(path))


def _on_and_off(patch: patches.Patch) -> dict[str, Any]:
    """Seconds, medians, and what is held beside a table of the patch's size."""
    num_slots, (_, width) = patch.about.num_slots, patch.rows.shape()
    # Written once, so that all of its pages are counted before.
    zeroed = jax.jit(lambda table: table * 0, donate_argnums=0)
    table = patches.PatchedTable(zeroed(jnp.full((num_slots, width), 1.0)).block_until_ready())
    few = storage.encode(np.ones((1, width), np.float32), np.asarray([0, 1]), "float32")
    starts = np.asarray([0, 1], np.int32)
    small = dataclasses.replace(patch, slots=patch.slots[:1], starts=starts, rows=few)
    table.apply(small)  # compiles
    table.revert(patch.about.name)
    Path("/proc/self/clear_refs").write_text("5")  # so that the peak is what is held now
    held = _peak_bytes()
    seconds: dict[str, list[float]] = {"apply": [], "revert": []}
    for _ in range(_ROUNDS):
        for name, call in (
            ("apply", lambda: table.apply(patch)),
            ("revert", lambda: table.revert(patch.about.name)),
        ):
            started = time.perf_counter()
            call()
            table.values.block_until_ready()
            seconds[name].append(time.perf_counter() - started)
    assert not np.asarray(table.values[patch.slots[:1000]]).any()
    return {
        "seconds": float(np.median(seconds["apply"])),
        "revert_seconds": float(np.median(seconds["revert"])),
        "mb": (_peak_bytes() - held) / 1e6,
        "rounds": _ROUNDS,
    }


def _peak_bytes() -> int:
    """The most memory of this process since that was last cleared, on Linux."""
    found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def without_table(inputs: Inputs) -> None:
    """Rows are those of patches here; a table of all slots is not needed."""
    layer = memory_layer(inputs.model, inputs.block)
    layer.table = CompactTable.empty(layer.config)


def _recall(size: int, overrides: Sequence[str], workdir: Path) -> Iterator[dict[str, Any]]:
    """What is recalled of two patches, stored and merged in each way."""
    path = _ROOT / "configs" / "stream_facts.py"
    config = config_module.load(path, [f"lessons.count={2 * size}", *overrides], stream_defaults())
    inputs = stream_inputs.load(config)
    without_table(inputs)
    halves = inputs.lessons[:size], inputs.lessons[size:]
    taught = [
        _taught(config, inputs, lessons, workdir, name)
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
        num_bytes = sum(array.nbytes for array in stored[0].rows.arrays.values())
        yield {
            "what": f"each alone, {kind}",
            "mb": (num_bytes + stored[0].slots.nbytes) / 1e6,
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


def _stream(path: Path, overrides: Sequence[str]) -> Iterator[dict[str, Any]]:
    """What a stream's patch recalls, also as low_rank, and how fast that goes on and off."""
    patch = patches.load(path)
    count = patch.num_lessons
    config = config_module.load(
        _ROOT / "configs" / "stream_facts.py",
        [f"lessons.count={count}", *overrides],
        stream_defaults(),
    )
    inputs = stream_inputs.load(config)
    without_table(inputs)
    asked = RecallMatrix(inputs.tokenizer, inputs.lessons, count)
    small = patches.restored(patch, storage="low_rank")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "small.safetensors"
        patches.save(small, file)
        sizes = {"float32": path.stat().st_size, "low_rank": file.stat().st_size}
        # In a process that has held nothing larger, so that what it holds can be seen.
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            timed = pool.submit(_on_and_off_file, file).result()
    for kind, given in (("float32", patch), ("low_rank", small)):
        found = asked.shares(put_on(inputs.model, inputs.block, patches.combined([given])), count)
        yield {
            "what": f"{count:,} lessons of a stream, {kind}",
            "mb": sizes[kind] / 1e6,
            "first": float(np.nanmean(found["reworded"])),
            "first_trained": float(np.nanmean(found["trained"])),
            "silent_rows": float(
                np.mean(~given.rows.take(np.arange(len(given.slots))).any(axis=1))
            ),
        }
    yield {"what": f"{count:,} lessons of a stream on {small.about.num_slots:,} rows", **timed}


def teach(
    config: ConfigDict,
    inputs: Inputs,
    lessons: Sequence[Lesson],
    name: str,
    known: patches.Combined | None = None,
) -> Teacher:
    """A teacher that has gone over some lessons once; `name` stands before the progress bar."""
    assert inputs.background is not None
    teacher = Teacher(
        inputs.model,
        inputs.tokenizer,
        inputs.block,
        inputs.background,
        config.learner,
        config.lessons.lengths,
        known,
    )
    for lesson in tqdm.tqdm(lessons, desc=name):
        teacher.teach(lesson)
    return teacher


def _taught(
    config: ConfigDict, inputs: Inputs, lessons: Sequence[Lesson], workdir: Path, name: str
) -> patches.Patch:
    """The patch of some lessons, from its file where these were taught with that configuration."""
    taught = "\n".join(
        [config_module.to_json(config), inputs.fingerprint, *(lesson.id for lesson in lessons)]
    )
    digest = hashlib.sha256(taught.encode()).hexdigest()[:8]
    path = workdir / f"{name}-{digest}.safetensors"
    if path.is_file():
        return patches.load(path)
    teacher = teach(config, inputs, lessons, name)
    patch = patches.make(
        teacher.learned(),
        memory_layer(inputs.model, inputs.block),
        name=name,
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
