"""Ten facts into SmolLM2-135M by three methods, to see that all of it works: minutes of a CPU.

    make try-stream

Nothing can be concluded from so few; configs/sweeps/facts.py has the runs that count.
"""

import runpy
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

_BASE = Path(__file__).resolve().parents[1] / "stream_facts.py"


def get_config() -> ConfigDict:
    """Those of stream_facts.py, with fewer facts and less to measure."""
    config: ConfigDict = runpy.run_path(str(_BASE))["get_config"]()
    config.lessons.update({"count": 10, "passages": 8, "lengths": (48,)})
    # A table of 150 MB; where slots are fewer, more documents read each.
    config.memory.num_slots = 2**16
    config.learner.max_document_frequency = 200
    config.evaluate.update({"every": 5, "limits": {"known": 40, "wikitext": 8, "nq": 20}})
    for task in ("gsm8k", "mmlu", "trivia_choices", "untaught"):
        config.evaluate[task] = ""
    return config


def get_runs() -> list[dict[str, Any]]:
    """One run of each method."""
    adam = ["learner.optimizer=adam", "learner.steps=4"]
    return [
        {"name": "sparse", "overrides": [*adam, "learner.learning_rate=0.4"]},
        {"name": "lora", "overrides": [*adam, "learner.method=lora", "learner.learning_rate=1e-3"]},
        {"name": "full", "overrides": [*adam, "learner.method=full", "learner.learning_rate=3e-5"]},
    ]
