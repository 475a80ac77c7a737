"""A finetuning step of a whole model with tables of more and more slots.

    python -m benchmarks.finetuning [--sizes 2**14 2**18 2**22] [--output FILE]

The model has the sizes of SmolLM2-135M and random weights, a memory layer beside block 20 of 30, 4
heads of 8 reads, and a table of bfloat16 (on a CPU as its bits); a batch is 8 sequences of 32
tokens. Writes benchmarks/results/finetuning.json.
"""

import argparse
import statistics
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from benchmarks import timing
from benchmarks.step import integer, table
from smem_jax.memory.config import MemoryConfig
from smem_jax.models.config import ModelConfig
from smem_jax.models.retrofit import retrofit
from smem_jax.models.transformer import Transformer
from smem_jax.optim import row_sgd
from smem_jax.train.step import (
    Batch,
    DriftSample,
    Ordinary,
    Settings,
    initial_state,
    train_step,
)

_MODEL = ModelConfig(
    vocab_size=49_152,
    num_blocks=30,
    embed_dim=576,
    num_heads=9,
    num_kv_heads=3,
    head_dim=64,
    ffn_dim=1536,
)
_BLOCK, _HEADS, _TOP_K, _BATCH, _SEQ, _SCORED, _SAMPLE = 20, 4, 8, 8, 32, 8, 512
_READS, _DOCUMENTS = _HEADS * _TOP_K, 1000
_COLUMNS = {"num_slots": ",", "dtype": "", "seconds_median": ".3f", "ratio_to_smallest": ".3f"}


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=integer, nargs="+", default=[2**14, 2**18, 2**22])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    model = _model()
    calls = {num_slots: _step(model, num_slots) for num_slots in args.sizes}
    rows = [
        {
            "op": "finetuning step",
            "implementation": "smem_jax",
            "num_slots": num_slots,
            "dtype": "bfloat16",
            "seconds_median": statistics.median(seconds),
            "seconds_min": min(seconds),
        }
        for num_slots, seconds in timing.interleaved(calls, args.rounds).items()
    ]
    for row in rows:
        row["ratio_to_smallest"] = row["seconds_median"] / rows[0]["seconds_median"]
    timing.show(rows, _COLUMNS)
    timing.write("finetuning", rows, args.output)


def _model() -> tuple[nnx.GraphDef, nnx.State]:
    """The model's graph and state; its own table is not looked at by a step."""
    model = Transformer(_MODEL, rngs=nnx.Rngs(0))
    width = _MODEL.embed_dim
    memory = MemoryConfig(
        width,
        width,
        num_slots=_TOP_K**2,
        num_heads=_HEADS,
        top_k=_TOP_K,
        key_dim=64,
        gate=False,
        output_projection=False,
    )
    retrofit(model, [_BLOCK], memory)
    return nnx.split(model)


def _step(model: tuple[nnx.GraphDef, nnx.State], num_slots: int):
    """A call that takes one step on a table of its own."""
    random = np.random.default_rng(0)
    shape = (_BATCH, _SEQ)

    def reads(*sizes):
        return jnp.asarray(random.integers(0, num_slots, (*sizes, _READS)), jnp.int32)

    def floats(*sizes):
        return jnp.asarray(random.random(sizes, np.float32))

    batch = Batch(
        floats(*shape, _MODEL.embed_dim),
        jnp.zeros((*shape, 0)),
        reads(*shape),
        floats(*shape, _READS) / _READS,
        jnp.ones(shape, bool),
        jnp.broadcast_to(jnp.arange(_SEQ - _SCORED, _SEQ), (_BATCH, _SCORED)),
        jnp.asarray(random.integers(0, _MODEL.vocab_size, (_BATCH, _SCORED))),
        jnp.ones((_BATCH, _SCORED), bool),
    )
    drift = DriftSample(reads(_SAMPLE), floats(_SAMPLE, _READS) / _READS)
    frequency = jnp.asarray(random.integers(0, _DOCUMENTS, num_slots), jnp.int32)
    ordinary = Ordinary(frequency, _DOCUMENTS, 1.0)
    # The state of Adam would be twice a table of float32; plain descent keeps none.
    settings = Settings(_BLOCK, 512, "tf_idf", row_sgd(), 1.0, 1)
    state = initial_state(table(num_slots, _MODEL.embed_dim, "bfloat16"), settings.optimizer)
    key = jax.random.key(0)

    def call():
        nonlocal state
        state, report = train_step(*model, state, ordinary, batch, drift, settings, 0.1, key)
        jax.block_until_ready(report)

    return call


if __name__ == "__main__":
    main()
