"""Pretrain the 1.3B model with value rows as wide as in arXiv 2510.15103, on 16 TPU chips.

    smem compile --config configs/pretrain/published_1_3b.py --topology v5p:2x2x4
    smem train --config configs/pretrain/published_1_3b.py --workdir /shared/1_3b --distributed \
        data.source=tfds:c4/en:train@/data data.tokenizer=/data/tokenizer

configs/pods/pretrain_1b.py with rows of 1,024 instead of 2,048: 22 blocks of width 2048, memory of
2**20 slots in place of the feed-forward network of block 12.
"""

import runpy
from pathlib import Path

from ml_collections import ConfigDict

_WIDER = Path(__file__).resolve().parents[1] / "pods" / "pretrain_1b.py"


def get_config() -> ConfigDict:
    """Those of the wider table, with half its width."""
    config: ConfigDict = runpy.run_path(str(_WIDER))["get_config"]()
    config.memory.value_dim = 1024
    config.mesh.memory = 8  # 128 columns of the table a chip, as there
    return config
