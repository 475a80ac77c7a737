"""40 chunks of World Factbook profiles into SmolLM2-135M by every kind of method.

    results=benchmarks/results/streams/documents.jsonl
    smem sweep --config configs/sweeps/documents.py --results $results
    smem report $results --output docs/RESULTS.md

Two countries, each chunk in 32 augmentations, some ten minutes of a CPU a run; learning rates are
of those that were tried with facts (facts_100.py). Measured are recall, the known set and WikiText.
"""

import runpy
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from smem_jax.train.sweep_runs import Methods, grid_of_methods

_BASE = Path(__file__).resolve().parents[1] / "stream_documents.py"
_NO_GATE = ["learner.relevance_threshold=0"]
_PLAIN = [*_NO_GATE, "learner.new_rows_only=False", "learner.max_document_frequency=0"]
_METHODS: Methods = {
    "sparse": ([], (0.4,)),
    "no_gate": (_NO_GATE, (0.4,)),
    "plain": (_PLAIN, (0.2,)),
    # All ways to study a chunk, of which a question alone is none.
    "studied": (["lessons.strategies=()"], (0.4,)),
    # Other blocks that carry the memory, of 30; else, block 4.
    "block_12": (["memory.block=12"], (0.4,)),
    "block_20": (["memory.block=20"], (0.4,)),
    "block_20_no_gate": (["memory.block=20", *_NO_GATE], (0.4,)),
    "block_20_t_3000": (["memory.block=20", "learner.top_t=3000"], (0.4,)),
    "lora": (["learner.method=lora"], (1e-4, 3e-4)),
    "lora_replay": (["learner.method=lora", "learner.replay=2"], (3e-4,)),
    "full": (["learner.method=full"], (1e-5, 3e-5)),
    "full_replay": (["learner.method=full", "learner.replay=2"], (1e-5,)),
}


def get_config() -> ConfigDict:
    """Those of stream_documents.py, with fewer and shorter chunks and less to measure."""
    config: ConfigDict = runpy.run_path(str(_BASE))["get_config"]()
    config.lessons.update({"count": 40, "passages": 32, "chunk_tokens": 128})
    config.lessons.lengths = (32, 64, 128)
    config.learner.num_parts = 1
    config.evaluate.every = 20
    for task in ("nq", "gsm8k", "mmlu", "trivia_choices", "untaught"):
        config.evaluate[task] = ""
    return config


def get_runs() -> list[dict[str, Any]]:
    """Each method at each of its learning rates."""
    return grid_of_methods("documents", _METHODS, seed=(0,))
