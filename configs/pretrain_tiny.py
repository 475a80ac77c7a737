"""Pretrain a tiny byte-level model with a memory layer on WikiText paragraphs, on a CPU.

    smem train --config configs/pretrain_tiny.py --workdir runs/pretrain_tiny

Takes about a minute on 2 cores. `make try-pod` runs it as two processes.
"""

from pathlib import Path

from ml_collections import ConfigDict

_DATA = Path(__file__).resolve().parent / "quickstart_data"


def get_config() -> ConfigDict:
    """Fields that differ from `smem_jax.job_settings.job_defaults`."""
    config = ConfigDict()
    config.objective = "pretrain"
    config.data = ConfigDict({"source": f"text:{_DATA / 'background_text.txt'}", "seq_len": 128})
    config.train = ConfigDict({"steps": 100, "batch_size": 16, "checkpoint_every": 25})
    return config
