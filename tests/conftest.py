"""What holds for all tests."""

import pytest

from smem_jax import user_cache


@pytest.fixture(autouse=True)
def programs_are_not_kept(monkeypatch):
    """No test changes where JAX keeps its programs for those after it, or a user's cache."""
    monkeypatch.setattr(user_cache, "keep_programs", lambda: None)
