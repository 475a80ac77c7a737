"""The training loop: batches, metrics, checkpoints, resumption."""

import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tqdm
from ml_collections import ConfigDict

from smem_jax.evaluate.along import Along
from smem_jax.kernels import huge_pages
from smem_jax.models.retrofit import memory_layer
from smem_jax.models.transformer import Transformer
from smem_jax.patch.make import Learned
from smem_jax.train.checkpoints import TrainCheckpoints
from smem_jax.train.examples import Schedule
from smem_jax.train.metrics import MetricsWriter
from smem_jax.train.prepare import Prepared
from smem_jax.train.retrofitted import row_optimizer
from smem_jax.train.skipped import Skipped
from smem_jax.train.step import (
    Batch,
    DriftSample,
    Settings,
    initial_state,
    train_step,
    without_table,
)


def train(
    model: Transformer,
    prepared: Prepared,
    schedule: Schedule,
    config: ConfigDict,
    workdir: Path,
    along: Along,
) -> Learned:
    """Takes `config.train.steps` steps and returns what they added.

    What `along` measures of the model every `config.evaluate.every` steps, from the untaught one to
    that after the last step, is in `metrics.jsonl` at the number of steps taken. Meanwhile there is
    a second value table.

    Resumes from the latest checkpoint under `workdir`. A step depends on its number, the seed and
    the state alone, so a run that was cut off ends as it would have.
    """
    c = config.train
    optimizer = row_optimizer(c)
    table = memory_layer(model, config.memory.block).table.values[...]
    values = table[prepared.working.slots].astype(jnp.float32)
    top_t = c.top_t
    if c.selection == "read":
        m = config.memory
        top_t = c.batch_size * config.facts.seq_len * m.num_heads * m.top_k  # all of a batch
    top_t = min(top_t, values.shape[0])
    settings = Settings(
        config.memory.block,
        top_t,
        c.selection,
        optimizer,
        c.drift_weight,
        c.num_parts,
        c.max_document_frequency or None,
    )
    state = initial_state(values, optimizer)
    graphdef, frozen = without_table(model, settings.block)
    ordinary = jax.tree.map(jnp.asarray, prepared.ordinary)
    skipped = Skipped(c.max_skipped)
    every = config.evaluate.every if along else 0

    def along_with(rows: jax.Array) -> dict[str, float]:
        layer: Any = memory_layer(model, settings.block)
        untaught = layer.table.values
        written = with_rows(table, prepared.working.slots, rows)
        layer.table.values = untaught.replace(written)
        try:
            return along(model)
        finally:
            layer.table.values = untaught

    with TrainCheckpoints(workdir, config) as checkpoints:
        first, state = checkpoints.restore(state)
        huge_pages.use_for(state.values)
        with MetricsWriter(workdir, first) as metrics:
            skipped.total = metrics.skipped
            progress = tqdm.trange(first, c.steps, desc="teaching", initial=first, total=c.steps)
            for step in progress:
                measured = {}
                if every and step % every == 0:
                    measured = along_with(state.values)
                started = time.perf_counter()
                batch, drift = _inputs(prepared, schedule, step, c.drift_tokens, config.seed)
                done = step / c.steps
                learning_rate = c.learning_rate * (1 - done) + c.final_learning_rate * done
                key = jax.random.fold_in(jax.random.key(config.seed), step)
                state, report = train_step(
                    graphdef,
                    frozen,
                    state,
                    ordinary,
                    batch,
                    drift,
                    settings,
                    learning_rate,
                    key,
                )
                skipped.add(f"step {step}", report.loss)
                skipped.check()
                metrics.write(
                    step,
                    loss=float(report.loss),
                    drift=float(report.drift),
                    rows=int(report.selected),
                    skipped=skipped.total,
                    seconds=time.perf_counter() - started,
                    **measured,
                )
                progress.set_postfix(loss=f"{report.loss:.3f}", refresh=False)
                is_due = (step + 1) % c.checkpoint_every == 0 and step + 1 < c.steps
                if is_due and not skipped.in_a_row:
                    checkpoints.save(step + 1, state)
            if every:
                metrics.write(c.steps, **along_with(state.values))
    changed = np.flatnonzero(np.asarray(state.changed))
    slots = prepared.working.slots[changed].astype(np.int32)
    rows = np.asarray(state.values[changed]) - np.asarray(table[slots], np.float32)
    return Learned(slots, np.asarray([0, len(slots)], np.int32), rows)


@jax.jit
def with_rows(table: jax.Array, slots: np.ndarray, rows: jax.Array) -> jax.Array:
    """A copy of a table, float32 or bfloat16 [num_slots, value_dim], with other `rows` at `slots`.

    By their bits, since XLA for CPUs scatters bfloat16 by way of a float32 table.
    """
    bits = jnp.uint16 if table.dtype == jnp.bfloat16 else jnp.uint32
    as_bits = jax.lax.bitcast_convert_type(table, bits)
    rows = jax.lax.bitcast_convert_type(rows.astype(table.dtype), bits)
    return jax.lax.bitcast_convert_type(as_bits.at[slots].set(rows), table.dtype)


def _inputs(
    prepared: Prepared, schedule: Schedule, step: int, drift_tokens: int, seed: int
) -> tuple[Batch[np.ndarray], DriftSample[np.ndarray]]:
    group, chosen = schedule.batch(step)
    random = np.random.default_rng((seed, step))
    sample = random.permutation(len(prepared.drift.rows))[:drift_tokens]
    return (
        prepared.batch(group, chosen),
        DriftSample(prepared.drift.rows[sample], prepared.drift.weights[sample]),
    )
