"""What scripts outside of the package import of it is there: not all of them are run by a test."""

import ast
import importlib
import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = [
    path.relative_to(ROOT)
    for folder in ("benchmarks", "configs", "docs", "examples")
    for path in sorted((ROOT / folder).rglob("*.py"))
]


def _imported(path: Path) -> set[tuple[str, str]]:
    return {
        (node.module, alias.name)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("smem_jax")
        for alias in node.names
    }


@pytest.mark.parametrize("script", SCRIPTS, ids=str)
def test_imports_of_the_package_are_there(script):
    for module, name in _imported(ROOT / script):
        found = hasattr(importlib.import_module(module), name)
        assert found or importlib.util.find_spec(f"{module}.{name}"), f"{module} has no {name}"


def test_some_are_looked_at():
    assert sum(bool(_imported(ROOT / script)) for script in SCRIPTS) > 10
