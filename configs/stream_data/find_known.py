"""Find the questions that the base model answers right: known.jsonl.

    python configs/stream_data/find_known.py SOURCE [--said FILE]

Asks SmolLM2-135M (see MODEL) the questions of the folder SOURCE (see make_slices.py) and those of
common_knowledge.txt, greedily, and keeps those that it answers right by exact match, apart from
those of the held-out slices. What it said is appended to FILE batch by batch; a run that was
stopped goes on where it stood. Takes about 15 minutes on two idle CPU cores.
"""

import argparse
import functools
import itertools
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import tqdm
from flax import nnx
from known_questions import distinct, read_common_knowledge
from make_slices import TOKENIZER as MODEL
from make_slices import held_out, with_role
from published import DATA, Record, read_json_lines, read_questions, words, write_json_lines

from smem_jax.data import wordings
from smem_jax.evaluate import generate, score
from smem_jax.evaluate.batching import pad_rows
from smem_jax.models import pretrained
from smem_jax.models.transformer import Transformer

SEED = 20250102
BATCH_SIZE = 100
MAX_NEW_TOKENS = 12
LENGTH_STEP = 4
# Short questions, since there are more than there is time for, and the model answers one in a
# hundred of them right; of SimpleQA's it answered none of 91.
MAX_PROMPT_TOKENS = {"nq": 16, "triviaqa": 32, "opentrivia": 16}


def candidates(source: Path, tokenizer: pretrained.Tokenizer) -> list[Record]:
    """The questions to ask: those of common knowledge, then short ones of the data sets, mixed."""
    questions = read_questions(source)
    used = {tuple(words(r["question"])) for r in with_role(held_out(source, questions))}
    chosen: list[Record] = []
    for name, limit in MAX_PROMPT_TOKENS.items():
        lengths = map(len, tokenizer.encode_batch(prompts(questions[name])))
        chosen += [
            record
            for record, length in zip(questions[name], lengths, strict=True)
            if length <= limit and tuple(words(record["question"])) not in used
        ]
    random.Random(SEED).shuffle(chosen)
    return read_common_knowledge(DATA / "common_knowledge.txt") + chosen


def prompts(records: Sequence[Record]) -> list[str]:
    """The questions in the frame in which a taught model is asked, too."""
    return wordings.prompts([record["question"] for record in records], [wordings.ASK_FRAME])


@functools.partial(jax.jit, static_argnames="graphdef")
def first_tokens(
    graphdef: nnx.GraphDef, state: nnx.State, tokens: jax.Array, lengths: jax.Array
) -> jax.Array:
    """The likeliest token after the first `lengths` [batch] of `tokens` int32 [batch, seq]."""
    model = nnx.merge(graphdef, state)
    hidden = model.run_blocks(model.embed(tokens))
    last = jnp.take_along_axis(hidden, (lengths - 1)[:, None, None], axis=1)
    return jnp.argmax(model.logits(last[:, 0]), axis=-1)


def may_begin(record: Record, tokenizer: pretrained.Tokenizer) -> set[int]:
    """The first tokens of the accepted answers, in several spellings."""
    spellings = {
        " " + text
        for answer in record["answers"]
        for text in (answer, answer.lower(), answer.capitalize(), answer.title())
    }
    # Articles do not count in exact match; 'The' alone begins too many wrong answers.
    return {row[0] for row in tokenizer.encode_batch([*sorted(spellings)]) if row}


def promising(
    records: list[Record], model: Transformer, tokenizer: pretrained.Tokenizer
) -> Iterator[tuple[list[Record], list[Record]]]:
    """Batches of the records, each with those of it that may be answered right.

    The first token costs a tenth of a whole answer, and most answers are wrong from there on.
    """
    graphdef, state = nnx.split(model)
    encoded = tokenizer.encode_batch(prompts(records))
    rows = {record["id"]: row for record, row in zip(records, encoded, strict=True)}
    by_length: dict[int, list[Record]] = {}
    for record in records:
        length = -(-len(rows[record["id"]]) // LENGTH_STEP) * LENGTH_STEP
        by_length.setdefault(length, []).append(record)
    for length, found in sorted(by_length.items()):
        for start in range(0, len(found), BATCH_SIZE):
            batch = found[start : start + BATCH_SIZE]
            batch_rows = [rows[record["id"]] for record in batch]
            tokens = pad_rows(batch_rows, BATCH_SIZE, length, tokenizer.pad_id)
            lengths = np.ones(BATCH_SIZE, np.int32)
            lengths[: len(batch)] = [len(row) for row in batch_rows]
            first = np.asarray(first_tokens(graphdef, state, tokens, lengths))
            begun = zip(batch, first[: len(batch)].tolist(), strict=True)
            yield (
                batch,
                [record for record, token in begun if token in may_begin(record, tokenizer)],
            )


def ask(asked: list[Record], base: pretrained.Pretrained, path: Path) -> dict[str, str | None]:
    """What the model says to each question, by the question; appended to `path` as it comes.

    None stands for an answer that was wrong from its first token.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    said = {r["question"]: r["said"] for r in read_json_lines(path)} if path.exists() else {}
    left = [record for record in asked if record["question"] not in said]
    model = Transformer.from_tensors(base.config, base.tensors)
    stops = base.tokenizer.special_ids + base.tokenizer.ids_containing("\n")
    with path.open("a", encoding="utf-8") as out:
        progress = tqdm.tqdm(total=len(left), desc="questions asked")
        common = [record for record in left if record["id"].startswith("common")]
        others = [record for record in left if not record["id"].startswith("common")]
        batches = (promising(part, model, base.tokenizer) for part in (common, others))
        for batch, passed in in_hundreds(itertools.chain.from_iterable(batches)):
            texts = generate.generate(
                model, base.tokenizer, prompts(passed), MAX_NEW_TOKENS, stops, BATCH_SIZE
            )
            answers = {r["id"]: text.strip() for r, text in zip(passed, texts, strict=True)}
            for record in batch:
                line = {"question": record["question"], "said": answers.get(record["id"])}
                said[line["question"]] = line["said"]
                out.write(json.dumps(line, ensure_ascii=False) + "\n")
            out.flush()
            progress.update(len(batch))
    return said


def in_hundreds(
    batches: Iterator[tuple[list[Record], list[Record]]],
) -> Iterator[tuple[list[Record], list[Record]]]:
    """Joins batches until they hold about as many promising records as a batch of answers."""
    waiting: list[Record] = []
    passed: list[Record] = []
    for batch, hopeful in batches:
        waiting, passed = waiting + batch, passed + hopeful
        if len(passed) >= 0.8 * BATCH_SIZE:
            yield waiting, passed
            waiting, passed = [], []
    if waiting:
        yield waiting, passed


def right(
    asked: list[Record], said: dict[str, str | None], tokenizer: pretrained.Tokenizer
) -> list[Record]:
    """The records that were answered right, with what was said.

    An answer that may have been cut by MAX_NEW_TOKENS does not count.
    """
    found = []
    for record in asked:
        answer = said[record["question"]]
        if (
            answer is not None
            and score.exact_match(answer, record["answers"])
            and len(tokenizer.encode(" " + answer)) < MAX_NEW_TOKENS
        ):
            found.append({**record, "said": answer})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", 1)[0])
    parser.add_argument("source", type=Path, help="folder of the published data sets")
    parser.add_argument("--said", type=Path, default=Path("runs/known/said.jsonl"))
    arguments = parser.parse_args()
    base = pretrained.load(MODEL)
    asked = candidates(arguments.source, base.tokenizer)
    found = right(asked, ask(asked, base, arguments.said), base.tokenizer)
    known = distinct(found)
    write_json_lines(DATA / "known.jsonl", known)
    print(f"{len(found):,} of {len(asked):,} answered right, {len(known):,} kept")


if __name__ == "__main__":
    main()
