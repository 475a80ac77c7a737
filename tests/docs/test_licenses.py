"""docs/licenses.md has every package that is needed, and their licences are allowed."""

import importlib.metadata
import runpy
from email.message import Message
from pathlib import Path

import pytest
from packaging.requirements import Requirement

_ROOT = Path(__file__).resolve().parents[2]
made = runpy.run_path(str(_ROOT / "docs" / "make_licenses.py"))


def test_what_is_needed_has_a_licence_that_is_allowed_and_is_on_the_page():
    page = (_ROOT / "docs" / "licenses.md").read_text(encoding="utf-8")
    lines = map(Requirement, (_ROOT / ".ci" / "constraints.txt").read_text().splitlines())
    lines = [line for line in lines if line.marker is None or line.marker.evaluate()]
    tested = {f"{line.name}{line.specifier}" for line in lines}
    found = made["found"]()
    assert len(found) > 50
    for name, licence in found.items():
        assert made["is_allowed"](licence), f"{name}: {licence}"
        if f"{name}=={importlib.metadata.version(name)}" in tested:
            assert f"\n| {name} | {licence} |\n" in page, f"run `make licenses`: {name}"


@pytest.mark.parametrize(
    ("fields", "expected", "is_allowed"),
    [
        ({"License-Expression": "MIT AND Zlib"}, "MIT AND Zlib", True),
        ({"License-Expression": "MIT AND GPL-3.0-only"}, "MIT AND GPL-3.0-only", False),
        ({"License-Expression": "MIT OR GPL-3.0-only"}, "MIT OR GPL-3.0-only", True),
        ({"Classifier": "License :: OSI Approved :: BSD License"}, "BSD", True),
        ({"License": "MIT License\n\nCopyright someone"}, "MIT", True),
        ({"License": "AGPL"}, "AGPL", False),
        ({}, "unknown", False),
    ],
)
def test_what_metadata_say(monkeypatch, fields, expected, is_allowed):
    metadata = Message()
    for name, value in fields.items():
        metadata[name] = value
    monkeypatch.setattr(importlib.metadata, "metadata", lambda name: metadata)
    licence = made["licence"]("some")
    assert (licence, made["is_allowed"](licence)) == (expected, is_allowed)
