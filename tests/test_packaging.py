"""The wheel and the source distribution: whole, alike, and enough for an empty environment."""

import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# What the package has beside its own folder; see `force-include` in pyproject.toml.
ORDINARY = {
    "background_text.txt": "quickstart_data/background_text.txt",
    "LICENSES_of_text.md": "quickstart_data/LICENSES.md",
    "background_qa.jsonl": "stream_data/background_qa.jsonl",
    "LICENSES_of_questions.md": "stream_data/LICENSES.md",
}
# A mistake in arguments and help are answered before any of these is imported.
HELP_IMPORTS = """
import sys
from smem_jax import cli
try:
    cli.main(["--help"])
except SystemExit:
    pass
print("imported:", sorted({"jax", "flax", "matplotlib", "optax", "orbax"} & sys.modules.keys()))
"""
IN_PACKAGE = """
from pathlib import Path
import smem_jax
from smem_jax.data.ordinary import ordinary
smem_jax.load
print(Path(smem_jax.__file__).parent)
assert all(path.stat().st_size > 10_000 for path in ordinary())
"""
pytestmark = pytest.mark.slow


def run(*command: str | Path, cwd: Path) -> str:
    """What a command prints, in an environment without this checkout."""
    environment = {n: v for n, v in os.environ.items() if not n.startswith(("PYTHON", "VIRTUAL"))}
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """`from_sdist` has the source distribution and a wheel made of that, `from_tree` a wheel."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", folder / "from_sdist", ROOT, cwd=folder)
    run(
        sys.executable, "-m", "build", "--wheel", "--outdir", folder / "from_tree", ROOT, cwd=folder
    )
    return folder


@pytest.fixture(scope="module")
def wheel(folder) -> Path:
    [path] = (folder / "from_tree").glob("*.whl")
    return path


@pytest.fixture(scope="module")
def programs(wheel, tmp_path_factory) -> Path:
    """The folder of programs of an empty environment that the wheel was installed into."""
    environment = tmp_path_factory.mktemp("environment")
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", wheel, cwd=environment)
    return python.parent


def contents(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def in_tree(folder: str) -> set[str]:
    """The files of a folder that are not left out by .gitignore."""
    files = (path for path in (ROOT / folder).rglob("*") if path.is_file())
    return {
        path.relative_to(ROOT).as_posix()
        for path in files
        if "__pycache__" not in path.parts and path.suffix != ".pyc"
    }


def test_the_wheel_has_every_file_of_the_package_and_the_ordinary_text(wheel):
    found = contents(wheel)
    ordinary = {f"smem_jax/ordinary_text/{name}" for name in ORDINARY}
    package = {name for name in found if name.startswith("smem_jax/")}
    assert package == in_tree("smem_jax") | ordinary
    assert not all(name.endswith(".py") for name in in_tree("smem_jax"))  # there are data files
    for name in in_tree("smem_jax"):
        assert found[name] == (ROOT / name).read_bytes()
    for name, source in ORDINARY.items():
        text = (ROOT / "configs" / source).read_bytes()
        assert found[f"smem_jax/ordinary_text/{name}"] == text
    outside = {name.split("/")[0].partition("-")[2] for name in found.keys() - package}
    assert {name.rpartition(".")[2] for name in outside} == {"dist-info"}


def test_the_source_distribution_gives_the_same_wheel(folder, wheel):
    [other] = (folder / "from_sdist").glob("*.whl")
    assert contents(other) == contents(wheel)


def test_the_source_distribution_has_what_its_makefile_and_tests_need(folder):
    [path] = (folder / "from_sdist").glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for part in ("smem_jax", "configs", "examples", "launch", "tests", "docs", "benchmarks", ".ci"):
        assert in_tree(part) <= names, part
    assert {"Makefile", "README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md"} <= names


def test_an_empty_environment_has_the_program(programs, tmp_path):
    assert "teach" in run(programs / "smem", "--help", cwd=tmp_path)
    assert "--fact" in run(programs / "smem", "teach", "--help", cwd=tmp_path)


def test_an_empty_environment_has_the_package_with_its_text(programs, tmp_path):
    place = run(programs / "python", "-c", IN_PACKAGE, cwd=tmp_path).strip()
    assert Path(place).is_relative_to(programs.parent)


def test_help_imports_nothing_that_takes_long(programs, tmp_path):
    said = run(programs / "python", "-c", HELP_IMPORTS, cwd=tmp_path)
    assert said.splitlines()[-1] == "imported: []"
