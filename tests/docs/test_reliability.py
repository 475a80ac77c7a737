"""Each row of docs/RELIABILITY.md names a test that is there."""

import ast
import json
import re
from pathlib import Path

import fuzz_targets
import pytest

_ROOT = Path(__file__).resolve().parents[2]
_TEXT = (_ROOT / "docs" / "RELIABILITY.md").read_text(encoding="utf-8")
_ROWS = [
    line.strip("| ").split(" | ")
    for line in _TEXT.splitlines()
    if line.startswith("| ") and not line.startswith(("| tried", "| ---"))
]


def _tests(path: Path) -> list[ast.FunctionDef]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    return [function for function in functions if function.name.startswith("test_")]


@pytest.mark.parametrize("row", _ROWS, ids=[row[0][:40] for row in _ROWS])
def test_each_row_has_its_test(row):
    [(path, name)] = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", row[-1])
    named = [function for function in _tests(_ROOT / path) if name in ("", function.name)]
    assert named, f"{path} has no {name}"
    if name:
        is_slow = any("mark.slow" in ast.unparse(mark) for mark in named[0].decorator_list)
        says = "slow" in " ".join(row[:-1])
        assert is_slow == says, f"{name} is {'' if is_slow else 'not '}slow"


def test_there_are_rows():
    assert len(_ROWS) > 20


def test_the_fuzzer_tried_what_is_said_and_found_nothing():
    """`tests/fuzz/coverage_guided.py` takes an hour; its results are kept."""
    results = json.loads((_ROOT / "benchmarks" / "results" / "fuzz.json").read_text())
    assert {name for name, found in results.items() if not found["problems"]} == set(
        fuzz_targets.NAMES
    )
    fewer = {name: found["runs"] for name, found in results.items() if found["runs"] < 100_000}
    assert f"{len(results) - len(fewer)} of them with 100,000 files each" in _TEXT
    assert f"{', '.join(f'`{name}`' for name in sorted(fewer))} with 5,000 each" in _TEXT
    assert set(fewer.values()) == {5000}
