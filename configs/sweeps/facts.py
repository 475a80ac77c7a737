"""1,000 facts into SmolLM2-135M by every method: nights of a CPU, or minutes of a GPU a run.

    smem sweep --config configs/sweeps/facts.py --results benchmarks/results/streams/facts.jsonl
    smem report benchmarks/results/streams/facts.jsonl --output docs/RESULTS.md

Stop it at any moment: the same command goes on, and a second one beside it takes other runs;
`--only 'all_sparse*'` makes those of one method. Every method sees the same facts in the same
order, in as many passages and steps, but for the paper's form: that has one step a fact.
facts_100.py is the same with 100 facts.
"""

import runpy
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from smem_jax.train.sweep_runs import Methods, grid_of_methods

_BASE = Path(__file__).resolve().parents[1] / "stream_facts.py"
_NO_GATE = ["learner.relevance_threshold=0"]
_PLAIN = [*_NO_GATE, "learner.new_rows_only=False", "learner.max_document_frequency=0"]
# With a selection a step, since the reads of a whole lesson are many more than its slots.
_READ = [*_PLAIN, "learner.selection=read", "learner.select_once=False"]
# All of the memory layer: values, keys, queries and gate. Its dense step of a million slots reads
# and writes 25 GB, so that this has fewer.
_MEMORY = ["learner.method=memory", "memory.num_slots=262144"]
_REPLAY = "learner.replay=2"
# What is set for each method, and the learning rates to try.
METHODS: Methods = {
    # The paper's form: stochastic gradient descent, one step a fact, and nothing else.
    "paper": (
        [*_PLAIN, "learner.optimizer=sgd", "learner.steps=1"],
        (1000.0, 3000.0, 10000.0),
    ),
    # That with as many steps as the others, and with the extensions.
    "paper_8_steps": ([*_PLAIN, "learner.optimizer=sgd"], (300.0, 1000.0, 3000.0)),
    "sgd": (["learner.optimizer=sgd"], (1000.0, 3000.0)),
    "sparse": ([], (0.2, 0.4)),
    # One extension less each, another threshold of the gate, or fewer slots.
    "no_gate": (_NO_GATE, (0.2, 0.4)),
    "any_rows": (["learner.new_rows_only=False"], (0.4,)),
    "no_limit": (["learner.max_document_frequency=0"], (0.4,)),
    "gate_16": (["learner.relevance_threshold=16"], (0.4,)),
    "gate_48": (["learner.relevance_threshold=48"], (0.4,)),
    "t_150": (["learner.top_t=150"], (0.4,)),
    "t_600": (["learner.top_t=600"], (0.4,)),
    # 775 lessons would fill so few slots, so a row may be trained again.
    "small": (["memory.num_slots=262144", "learner.new_rows_only=False"], (0.4,)),
    # Other blocks that carry the memory, of 30; else, block 4.
    "block_1": (["memory.block=1"], (0.4,)),
    "block_12": (["memory.block=12"], (0.4,)),
    "block_20": (["memory.block=20"], (0.4,)),
    # Without any use of what ordinary text reads, but with the gate.
    "tf_gate": (["learner.selection=tf", "learner.max_document_frequency=0"], (0.4,)),
    # Slots by their share of the divergence of a lesson's reads from those of ordinary text.
    "kl_gate": (["learner.selection=kl"], (0.4,)),
    # Counted in prose alone, which has no questions in the frames of facts.
    "prose": (["background.questions="], (0.4,)),
    # In place of the gate, a penalty on what the memory says to ordinary text.
    "penalty": (
        [
            *_NO_GATE,
            "learner.new_rows_only=False",
            "learner.top_t=200",
            "learner.drift_weight=1000.0",
            "learner.drift_readers=16",
        ],
        (0.2, 0.4),
    ),
    # Adam and as many steps, each fact with slots of its own choice, and no other extension.
    "plain": (_PLAIN, (0.1, 0.2, 0.4)),
    "tf": ([*_PLAIN, "learner.selection=tf"], (0.1, 0.2, 0.4)),
    "random": ([*_PLAIN, "learner.selection=random"], (0.1, 0.2, 0.4)),
    "kl": ([*_PLAIN, "learner.selection=kl"], (0.1, 0.2, 0.4)),
    "read": (_READ, (0.1, 0.2)),
    "memory": (_MEMORY, (1e-3, 1e-2)),
    "lora": (["learner.method=lora"], (1e-4, 3e-4, 1e-3)),
    "lora_rank_128": (["learner.method=lora", "learner.rank=128", "learner.alpha=128"], (3e-4,)),
    "lora_alpha_64": (["learner.method=lora", "learner.alpha=64"], (3e-4,)),
    "full": (["learner.method=full"], (3e-6, 1e-5, 3e-5, 1e-4)),
    # Two background documents in each step.
    "sparse_replay": ([_REPLAY], (0.4,)),
    "plain_replay": ([*_PLAIN, _REPLAY], (0.2,)),
    "tf_replay": ([*_PLAIN, "learner.selection=tf", _REPLAY], (0.2,)),
    "random_replay": ([*_PLAIN, "learner.selection=random", _REPLAY], (0.4,)),
    "kl_replay": ([*_PLAIN, "learner.selection=kl", _REPLAY], (0.2,)),
    "read_replay": ([*_READ, _REPLAY], (0.1,)),
    "memory_replay": ([*_MEMORY, _REPLAY], (1e-3,)),
    "lora_replay": (["learner.method=lora", _REPLAY], (3e-4, 1e-3)),
    "full_replay": (["learner.method=full", _REPLAY], (1e-5, 3e-5)),
}


def get_config() -> ConfigDict:
    """Those of stream_facts.py."""
    config: ConfigDict = runpy.run_path(str(_BASE))["get_config"]()
    return config


def get_runs() -> list[dict[str, Any]]:
    """Each method at each of its learning rates, by three seeds."""
    return grid_of_methods("all", METHODS, seed=(0, 1, 2))
