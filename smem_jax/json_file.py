"""A JSON object in a file of its own."""

import json
from pathlib import Path
from typing import Any

from smem_jax.errors import InputError


def read(path: Path) -> dict[str, Any]:
    """The JSON object in a file; InputError when it is missing or is something else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected a JSON object, got a {type(value).__name__}")
    return value
