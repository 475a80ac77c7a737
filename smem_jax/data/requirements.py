"""Packages of extras, imported where they are used."""

import importlib
from types import ModuleType

from smem_jax.errors import InputError


def require(name: str, extra: str = "data") -> ModuleType:
    """Imports a package of an extra; InputError with the remedy where it is missing."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(
            f"the Python package {error.name or name!r} is missing; "
            f"run `pip install 'smem-jax[{extra}]'`"
        ) from error
