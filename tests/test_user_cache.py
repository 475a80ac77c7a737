"""Where things are kept for a user, and where they are not."""

import os
import stat

import jax
import pytest

from smem_jax import user_cache
from smem_jax.user_cache import keep_programs


@pytest.fixture(autouse=True)
def nobody_has_said_where():
    before = jax.config.values["jax_compilation_cache_dir"]
    jax.config.update("jax_compilation_cache_dir", None)
    yield
    jax.config.update("jax_compilation_cache_dir", before)


@pytest.fixture
def directories(monkeypatch, tmp_path):
    """What JAX is told, in place of telling it."""
    told = {}
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(jax.config, "update", told.__setitem__)
    return told


def test_programs_are_kept_for_each_kind_of_processor(directories, tmp_path, monkeypatch):
    keep_programs()
    first = directories["jax_compilation_cache_dir"]
    assert first.startswith(str(tmp_path / "smem_jax" / "programs"))
    monkeypatch.setattr(user_cache, "_processor", lambda: "another")
    keep_programs()
    assert directories["jax_compilation_cache_dir"] != first


def test_who_has_said_where_is_left_alone(tmp_path):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    keep_programs()
    assert jax.config.values["jax_compilation_cache_dir"] == str(tmp_path)


def test_what_is_kept_is_for_its_user_alone(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    before = os.umask(0)
    try:
        assert stat.S_IMODE(user_cache.home().stat().st_mode) == 0o700
    finally:
        os.umask(before)


def test_without_a_place_nothing_is_kept(directories, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    keep_programs()
    assert directories == {}
