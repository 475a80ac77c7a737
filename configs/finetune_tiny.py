"""Teach documents to the model of configs/pretrain_tiny.py by sparse memory finetuning, on a CPU.

    smem train --config configs/pretrain_tiny.py --workdir runs/pretrain_tiny
    smem train --config configs/finetune_tiny.py --workdir runs/finetune_tiny

It starts with what the first has arrived at (`init`).
"""

from pathlib import Path

from ml_collections import ConfigDict

_DATA = Path(__file__).resolve().parent / "quickstart_data"


def get_config() -> ConfigDict:
    """Fields that differ from `smem_jax.job_settings.job_defaults`."""
    config = ConfigDict()
    config.objective = "sparse"
    config.init = "runs/pretrain_tiny"
    config.data = ConfigDict({"source": f"qa:{_DATA / 'facts.jsonl'}", "seq_len": 128})
    config.background = ConfigDict(
        {"source": f"text:{_DATA / 'background_text.txt'}", "batches": 32}
    )
    config.train = ConfigDict({"steps": 40, "batch_size": 16, "checkpoint_every": 20})
    config.sparse = ConfigDict({"top_t": 200, "learning_rate": 2.0})
    return config
