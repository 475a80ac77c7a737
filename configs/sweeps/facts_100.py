"""100 facts into SmolLM2-135M by every method: 4 to 40 minutes of a CPU a run.

    results=benchmarks/results/streams/facts_100.jsonl
    smem sweep --config configs/sweeps/facts_100.py --results $results
    smem report $results --output docs/RESULTS.md

The methods and learning rates are those of facts.py. Measured are recall, the known set and
WikiText. Runs named rate_* in the results are of the settings before the relevance gate.
"""

import runpy
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from smem_jax.train.sweep_runs import grid_of_methods

_WHOLE = runpy.run_path(str(Path(__file__).with_name("facts.py")))


def get_config() -> ConfigDict:
    """Those of stream_facts.py, with fewer facts and less to measure."""
    config: ConfigDict = _WHOLE["get_config"]()
    config.lessons.count = 100
    config.evaluate.every = 50
    for task in ("nq", "gsm8k", "mmlu", "trivia_choices", "untaught"):
        config.evaluate[task] = ""
    return config


def get_runs() -> list[dict[str, Any]]:
    """Each method at each of its learning rates."""
    return grid_of_methods("few", _WHOLE["METHODS"])
