"""Pretrain the dense model that costs as many FLOPs a token as the memory model of tiny.py.

    smem train --config configs/pretrain/tiny_dense.py --workdir runs/pretrain/tiny_dense

The memory layer of tiny.py replaces one feed-forward network and costs less than that one, so the
four networks here are 454 wide where the three there are 512 (tests/configs/test_pretrain.py).
"""

import runpy
from pathlib import Path

from ml_collections import ConfigDict

_MEMORY = Path(__file__).with_name("tiny.py")


def get_config() -> ConfigDict:
    """Those of tiny.py, without memory."""
    config: ConfigDict = runpy.run_path(str(_MEMORY))["get_config"]()
    config.memory.blocks = ()
    config.model.ffn_dim = 454
    return config
