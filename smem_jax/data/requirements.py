"""Packages of the extra 'data', imported where they are used."""

import importlib
from types import ModuleType

from smem_jax.errors import InputError


def require(name: str) -> ModuleType:
    """Imports grain or tensorflow_datasets; InputError with the remedy where it is missing."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(
            f"the Python package {error.name or name!r} is missing; "
            "run `pip install 'smem-jax[data]'`"
        ) from error
