"""A work directory as a finished run leaves it."""

import json
from pathlib import Path

import pytest
import run_files

from smem_jax import report


@pytest.fixture
def summary() -> dict:
    return json.loads(json.dumps(run_files.SUMMARY))


@pytest.fixture
def slot_reads() -> dict:
    return json.loads(json.dumps(run_files.SLOT_READS))


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    return run_files.write(tmp_path)


@pytest.fixture(scope="session")
def written(tmp_path_factory) -> Path:
    """The work directory with its report, to be read only."""
    folder = run_files.write(tmp_path_factory.mktemp("written"))
    report.write(folder)
    return folder
