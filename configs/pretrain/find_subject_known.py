"""Ask a tiny subject the facts that it was trained on, and keep those it answers right.

    python configs/pretrain/find_subject_known.py --workdir runs/subject

Each question is asked as 'Q: ...' and answered greedily; an answer is right by exact match. Writes
{"id", "question", "answers", "said"} to known.jsonl in the work directory: a known set, whose
retention begins at 100 %.
"""

import argparse
import json
from pathlib import Path

from smem_jax.data import wordings
from smem_jax.data.jsonl import iter_objects
from smem_jax.evaluate import generate, score
from smem_jax.train import subject

MAX_NEW_TOKENS = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", 1)[0])
    parser.add_argument("--workdir", type=Path, required=True, help="of the subject's `smem train`")
    parser.add_argument("--facts", type=Path, default=Path("runs/subject_text/facts.jsonl"))
    parser.add_argument("--output", type=Path, help="instead of known.jsonl there")
    arguments = parser.parse_args()
    model, tokenizer, _ = subject.load(arguments.workdir)
    facts = [record for _, record in iter_objects(arguments.facts)]
    prompts = wordings.prompts([fact["question"] for fact in facts], [wordings.ASK_FRAME])
    said = generate.answers(model, tokenizer, prompts, MAX_NEW_TOKENS, batch_size=100)
    known = [
        {**fact, "said": answer}
        for fact, answer in zip(facts, said, strict=True)
        if score.exact_match(answer, fact["answers"])
    ]
    output = arguments.output or arguments.workdir / "known.jsonl"
    lines = (json.dumps(record, ensure_ascii=False) + "\n" for record in known)
    output.write_text("".join(lines), encoding="utf-8")
    print(f"{len(known)} of {len(facts)} are answered right: {output}")


if __name__ == "__main__":
    main()
