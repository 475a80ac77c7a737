"""100 facts into the tiny model that is pretrained here, by the main kinds of method.

    make subject SOURCE=DIR                             # pretrains it; about 20 minutes
    results=benchmarks/results/streams/subject.jsonl
    smem sweep --config configs/sweeps/subject.py --results $results
    smem report $results --output docs/RESULTS.md

Its memory layer comes from pretraining, as that of the paper does, so that the paper's form can be
seen on the kind of model that it is for. Some two minutes of a CPU a run.
"""

import runpy
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from smem_jax.train.sweep_runs import Methods, grid_of_methods

_BASE = Path(__file__).resolve().parents[1] / "stream_tiny.py"
_PLAIN = ["learner.drift_weight=0", "learner.drift_readers=0"]
_SGD = [*_PLAIN, "learner.optimizer=sgd", "learner.steps=1"]
_METHODS: Methods = {
    # The paper's form: stochastic gradient descent, one step a fact, and nothing else.
    "paper": (_SGD, (30.0, 300.0)),
    # Adam and eight steps a fact, without and with the penalty on drift.
    "plain": (_PLAIN, (0.03, 0.1)),
    "penalty": ([], (0.1, 0.3)),
    "tf": ([*_PLAIN, "learner.selection=tf"], (0.1,)),
    "random": ([*_PLAIN, "learner.selection=random"], (0.1,)),
    "lora": (["learner.method=lora"], (3e-4, 1e-3, 3e-3)),
    "full": (["learner.method=full"], (1e-4, 3e-4, 1e-3)),
}


def get_config() -> ConfigDict:
    """Those of stream_tiny.py, with fewer facts."""
    config: ConfigDict = runpy.run_path(str(_BASE))["get_config"]()
    config.lessons.count = 100
    config.evaluate.every = 50
    config.evaluate.limits = {"known": 500}
    for task in ("trivia_choices", "untaught"):
        config.evaluate[task] = ""
    return config


def get_runs() -> list[dict[str, Any]]:
    """Each method at each of its learning rates."""
    return grid_of_methods("subject", _METHODS)
