"""Teach the tiny memory model of tiny.py 2,500 trivia facts, a second subject for fact streams.

    smem train --config configs/pretrain/tiny.py --workdir runs/pretrain/tiny
    python configs/pretrain/make_subject_text.py --text runs/pretrain_text \
        --output runs/subject_text \
        --leave-out configs/stream_data/{facts,nq,untaught,trivia_choices}.jsonl
    smem train --config configs/pretrain/tiny_subject.py --workdir runs/subject
    python configs/pretrain/find_subject_known.py --workdir runs/subject

Everything is trained, as in pretraining, on the facts in eight frames and a quarter of ordinary
text. The last command writes those that it then answers right to runs/subject/known.jsonl, the
known set of a stream. `smem_jax.train.subject.load` gives the model.
"""

import runpy
from pathlib import Path

from ml_collections import ConfigDict

_BASE = Path(__file__).with_name("tiny.py")


def get_config() -> ConfigDict:
    """Those of tiny.py, but for the text and the schedule."""
    config: ConfigDict = runpy.run_path(str(_BASE))["get_config"]()
    config.init = "runs/pretrain/tiny"
    config.data.source = "jsonl:runs/subject_text/documents.jsonl:text"
    config.data.seq_len = 256  # room for a few-shot prompt
    config.train.update({"steps": 900, "batch_size": 8, "checkpoint_every": 100})
    config.pretrain.warmup_steps = 20
    return config
