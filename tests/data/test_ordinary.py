"""The ordinary text of the package: the same in a wheel and in the source tree."""

import tomllib
from pathlib import Path

from smem_jax.data import ordinary as module
from smem_jax.data.questions import read_questions
from smem_jax.data.text import read_text

ROOT = Path(__file__).resolve().parents[2]


def test_the_source_tree_has_both_files():
    found = module.ordinary()
    assert len(read_text(found.text)) > 100 and len(read_questions(found.questions)) > 1000


def test_a_wheel_has_them_where_they_are_looked_for(tmp_path, monkeypatch):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    included = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    (tmp_path / "ordinary_text").mkdir()
    monkeypatch.setattr(module, "_PACKAGE", tmp_path)
    for path in module.ordinary():
        [source] = [
            s
            for s, there in included.items()
            if there == f"smem_jax/{path.parent.name}/{path.name}"
        ]
        assert (ROOT / source).is_file()
        assert (ROOT / source).parent.joinpath("LICENSES.md").is_file()
    assert sum("LICENSES" in there for there in included.values()) == 2
