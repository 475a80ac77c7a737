"""The examples say what they do, and what they return bears them out."""

import doctest
import re
import runpy
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

_FOLDER = Path(__file__).resolve().parents[2] / "examples"
_EXAMPLES = sorted(_FOLDER.glob("*.py"))


def _by_path(tree):
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


@pytest.mark.parametrize("path", _EXAMPLES, ids=lambda path: path.stem)
def test_an_example_teaches_by_the_selected_rows_alone(path):
    namespace = runpy.run_path(str(path))
    snippet = doctest.DocTestParser().get_doctest(
        namespace["__doc__"], namespace, path.stem, str(path), 0
    )
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    report = []
    assert runner.run(snippet, out=report.append, clear_globs=False).failed == 0, "".join(report)

    before, after, rows, losses = snippet.globs["result"]
    assert losses[-1] < 0.05 * losses[0]
    before, after = _by_path(before), _by_path(after)
    assert before.keys() == after.keys() and len(before) == 2
    for name, old in before.items():
        frozen = np.ones(len(old), bool)
        if "values" in name:
            frozen[rows[rows < len(old)]] = False
            assert 0 < np.count_nonzero(~frozen) <= namespace["TOP_T"]
            assert np.all(np.any(after[name] != old, axis=1) == ~frozen)
        assert after[name][frozen].tobytes() == old[frozen].tobytes()


def test_there_is_one_for_each_framework():
    frameworks = ("equinox", "haiku", "linen", "nnx", "plain")
    assert {f"optax_{name}" for name in frameworks} < {path.stem for path in _EXAMPLES}


def test_an_example_runs_as_its_docstring_says():
    command = re.search(r"python (examples/\S+)", (_FOLDER / "optax_plain.py").read_text())[1]
    result = subprocess.run(
        [sys.executable, command], cwd=_FOLDER.parent, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.endswith("rows outside the selection changed: 0\n")
