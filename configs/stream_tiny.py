"""A stream of facts into the tiny memory model that is pretrained here, on a CPU.

    make subject SOURCE=DIR                             # pretrains it; about 20 minutes
    smem stream --config configs/stream_tiny.py --workdir runs/stream_tiny

The model knows about 2,500 trivia facts, none of those that are taught; see docs/pretraining.md.
Its memory layer comes from pretraining, as that of the paper does.
"""

import runpy
from pathlib import Path

from ml_collections import ConfigDict

_ROOT = Path(__file__).resolve().parents[1]
_BASE = Path(__file__).with_name("stream_facts.py")


def get_config() -> ConfigDict:
    """Those of stream_facts.py, but for the model and what it can do."""
    config: ConfigDict = runpy.run_path(str(_BASE))["get_config"]()
    config.model = str(_ROOT / "runs" / "subject")
    # Of its 16,384 slots, ordinary text reads nearly all, and few are left for each fact.
    config.learner.update(
        {
            "top_t": 200,
            "max_document_frequency": 0,
            "new_rows_only": False,
            "relevance_threshold": 0,
            "drift_weight": 1000.0,
            "drift_readers": 16,
        }
    )
    config.lessons.update({"passages": 16, "lengths": (48, 64)})
    config.evaluate.known = str(_ROOT / "runs" / "subject" / "known.jsonl")
    # A model of 2 million parameters has no more than chance on these.
    for task in ("nq", "nq_shots", "gsm8k", "mmlu"):
        config.evaluate[task] = ""
    return config
