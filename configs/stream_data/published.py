"""The published data sets, read in the way of the quickstart's `make_slices.py`."""

import importlib.util
import re
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

Record = dict[str, Any]  # {"id": str, "question": str, "answers": list[str]}

DATA = Path(__file__).parent
QUICKSTART = DATA.parent / "quickstart_data"


def _quickstart_slices() -> ModuleType:
    """The module configs/quickstart_data/make_slices.py, which is no part of a package."""
    spec = importlib.util.spec_from_file_location(
        "quickstart_make_slices", QUICKSTART / "make_slices.py"
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


quickstart = _quickstart_slices()
words = quickstart.words
read_json_lines = quickstart.read_json_lines
write_json_lines = quickstart.write_json_lines


def read_questions(source: Path) -> dict[str, list[Record]]:
    """All usable questions by data set, each with an id such as 'triviaqa-17'.

    The number in the id is the place of the question in its file, from 0, or SimpleQA's own.
    TriviaQA keeps all its aliases, the most typical first; NQ-open all its answers.
    """
    nq = enumerate(read_json_lines(source / "nq_open/dev.jsonl"))
    trivia = enumerate(read_json_lines(source / "triviaqa/sample.jsonl"))
    simple = read_json_lines(source / "simpleqa/simpleqa_1k.jsonl")
    choice = enumerate(read_json_lines(source / "open_triviaqa/questions.jsonl.gz"))
    rows: dict[str, list[tuple[int, str, list[str]]]] = {
        "nq": [(i, row["question"], row["answer"]) for i, row in nq],
        "triviaqa": [(i, row["question"], most_usual_first(row["aliases"])) for i, row in trivia],
        "simpleqa": [(r["id"], r["question"], [r["answer"].rstrip(" .\n")]) for r in simple],
        "opentrivia": [
            (i, row["question"], [row["answer"]])
            for i, row in choice
            if quickstart.is_free_question(row["question"], row["answer"])
        ],
    }
    return {name: _records(name, found) for name, found in rows.items()}


def most_usual_first(aliases: list[str]) -> list[str]:
    """TriviaQA's aliases of an answer, the most usual ones first, those with brackets left out.

    The name itself comes in several spellings more often than any other alias of it does.
    """
    plain = [alias for alias in aliases if not re.search(r"[()%:/]", alias)] or aliases
    spellings = Counter(" ".join(words(alias)) for alias in plain)
    typical = quickstart.typical_aliases(plain)
    _, first = max(
        (spellings[" ".join(words(alias))], -place) for place, alias in enumerate(typical + plain)
    )
    usual = (typical + plain)[-first]
    same = [alias for alias in plain if words(alias) == words(usual)]
    # Of the spellings the one with ordinary capitals: neither 'FRANCE' nor 'Peter grimes'.
    best = min(same, key=lambda alias: (alias != alias.title(), alias.isupper(), alias))
    best = best.title() if best.isupper() and len(best) > 4 else best
    return list(dict.fromkeys([best, *typical, *plain]))


def _records(name: str, rows: list[tuple[int, str, list[str]]]) -> list[Record]:
    """The rows whose question and first answer are short and whole, each question once."""
    records: dict[tuple[str, ...], Record] = {}
    for number, question, answers in rows:
        if quickstart.fits(question, answers[:1]):
            record = {"id": f"{name}-{number}", **quickstart.tidy(question, answers)}
            records.setdefault(tuple(words(record["question"])), record)
    return list(records.values())
