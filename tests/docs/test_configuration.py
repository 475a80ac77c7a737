"""docs/configuration.md is what `make docs` writes, and has every field."""

import runpy
from pathlib import Path

import pytest

from smem_jax.job_settings import job_defaults
from smem_jax.settings import defaults
from smem_jax.stream_settings import stream_defaults

DOCS = Path(__file__).resolve().parents[2] / "docs"
made = runpy.run_path(str(DOCS / "make_configuration.py"))


def test_the_page_is_what_the_command_writes():
    page = (DOCS / "configuration.md").read_text(encoding="utf-8")
    assert page == made["page"](), "run `make docs`"


@pytest.mark.parametrize("settings", [defaults, stream_defaults, job_defaults])
def test_every_field_is_there_with_its_default(settings):
    rows = {field.name: field.default for field in made["fields"](settings) if field.default}
    known = dict(made["_flat"](settings()))
    if settings is stream_defaults:  # which has these two sections from `defaults`
        inherited = ("memory.", "background.")
        known = {n: v for n, v in known.items() if not n.startswith(inherited) or n in rows}
    assert {name: eval(default) for name, default in rows.items()} == known


def test_comments_beside_and_above_a_field_are_told():
    said = {field.name: field.comment for field in made["fields"](defaults)}
    assert said["memory.block"] == "from 0"
    assert said["model"].startswith("A .gguf file, a Hugging Face directory")
    assert said["train.b1"] == said["train.b2"] == "decay of adam's two moments"
