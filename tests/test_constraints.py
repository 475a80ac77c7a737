"""The versions that CI uses: one for all that it installs, and none outside pyproject.toml."""

import importlib.metadata
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_ROOT = Path(__file__).resolve().parents[1]
_PROJECT = tomllib.loads((_ROOT / "pyproject.toml").read_text())
_LINES = [
    Requirement(line) for line in (_ROOT / ".ci" / "constraints.txt").read_text().splitlines()
]
_EXTRAS = ("data", "dev", "tpu", "eval")  # of the environments that .ci/run makes


def _pinned(python: str) -> dict[str, str]:
    """Versions by name, on Linux with this version of Python."""
    version = {"python_full_version": f"{python}.1", "python_version": python}
    where = {"sys_platform": "linux", "platform_machine": "x86_64", **version}
    lines = [line for line in _LINES if line.marker is None or line.marker.evaluate(where)]
    names = [line.name for line in lines]
    assert len(set(names)) == len(names)
    return {line.name: next(iter(line.specifier)).version for line in lines}


def _asked() -> list[Requirement]:
    project = _PROJECT["project"]
    found = [*_PROJECT["build-system"]["requires"], *project["dependencies"]]
    for extra in _EXTRAS:
        found += project["optional-dependencies"][extra]
    asked = [Requirement(line) for line in found]
    return [requirement for requirement in asked if requirement.name != project["name"]]


def test_each_line_is_one_version():
    for line in _LINES:
        assert [s.operator for s in line.specifier] == ["=="] and line.name == line.name.lower()


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_every_dependency_has_a_version_within_its_range(python):
    pinned = _pinned(python)
    for asked in _asked():
        name = canonicalize_name(asked.name)
        assert asked.specifier.contains(pinned[name]), asked


def test_what_dependencies_need_has_a_version_too():
    """Those of the versions here; what a newer one needs, that was installed, is not known here."""
    pinned = _pinned(f"{sys.version_info.major}.{sys.version_info.minor}")
    assert len(pinned) > 80
    for name, version in pinned.items():
        installed = list(importlib.metadata.distributions(name=name))
        for line in installed[0].requires or [] if installed else []:
            need = Requirement(line)
            if installed[0].version == version and (
                need.marker is None or need.marker.evaluate({"extra": ""})
            ):
                assert canonicalize_name(need.name) in pinned, f"{name} needs {need}"
