"""Configuration files: Python with a `get_config()`, checked by name and type against defaults."""

import ast
import difflib
import json
import runpy
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from smem_jax.errors import InputError

_LONGEST_NAME = 100  # of a longer one, the nearest is not worth its time


def load(path: str | Path, overrides: Sequence[str], defaults: ConfigDict) -> ConfigDict:
    """The configuration of a file, with `section.field=value` overrides from the command line.

    The file's `get_config()` returns a ConfigDict or dict with some of the fields of `defaults`.
    An override is a Python literal where it is one, and text otherwise. The result is locked.

    Raises InputError for a file that is missing or fails, an unknown field (with the nearest known
    one), and a value of another type than the default's. An int will do for a float, and a list
    for a tuple.
    """
    config = defaults.copy_and_resolve_references()
    known = _flatten(config)
    for name, value in _flatten(_run(Path(path))).items():
        _set(config, known, name, value, str(path))
    for override in overrides:
        name, equals, text = override.partition("=")
        if not equals:
            raise InputError(f"override {override!r} must have the form section.field=value")
        _set(config, known, name, _value(text), f"override {override!r}", text)
    return config.lock()


def to_json(config: ConfigDict) -> str:
    """The configuration as JSON, the same text for equal configurations."""
    return json.dumps(config.to_dict(), indent=2, sort_keys=True) + "\n"


def from_json(text: str, defaults: ConfigDict) -> ConfigDict:
    """What `to_json` wrote, merged onto the defaults; InputError where it does not fit them."""
    try:
        found = json.loads(text)
        fields = _flatten(found) if isinstance(found, dict) else None
    except (ValueError, RecursionError) as error:
        raise InputError(f"the configuration is not JSON ({error})") from error
    if fields is None:
        raise InputError(f"the configuration must be a JSON object, not {type(found).__name__}")
    config = defaults.copy_and_resolve_references()
    known = _flatten(config)
    for name, value in fields.items():
        _set(config, known, name, value, "configuration")
    return config.lock()


def is_of(path: Path, defaults: ConfigDict) -> bool:
    """Whether a file holds what `to_json` wrote of a configuration with these fields."""
    try:
        from_json(path.read_text(encoding="utf-8"), defaults)
    except (InputError, OSError, UnicodeDecodeError):
        return False
    return True


def _run(path: Path) -> Mapping[str, Any] | ConfigDict:
    """What the file's `get_config()` returns."""
    if not path.is_file():
        raise InputError(f"{path}: no such configuration file")
    try:
        get_config = runpy.run_path(str(path)).get("get_config")
        found = get_config() if callable(get_config) else None
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == str(path)]
        where = f"{path}:{lines[-1]}" if lines else str(path)
        raise InputError(f"{where}: {type(error).__name__}: {error}") from error
    if not isinstance(found, Mapping | ConfigDict):
        raise InputError(f"{path}: it must define get_config(), which returns a ConfigDict")
    return found


def _flatten(config: Mapping[str, Any] | ConfigDict, prefix: str = "") -> dict[str, Any]:
    """Values by their dotted names."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping | ConfigDict):
            flat |= _flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _set(
    config: ConfigDict,
    known: dict[str, Any],
    name: str,
    value: Any,
    where: str,
    text: str | None = None,
) -> None:
    """Sets one field by its dotted name, if it is known and the value is of its type.

    `known` are the values of all fields by these names, and kept so; `text` is what the value was
    written as, which is taken where the field holds text.
    """
    if name not in known:
        raise InputError(f"{where}: {_unknown(name, known)}")
    default = known[name]
    if isinstance(default, str) and text is not None and not isinstance(value, str):
        value = text
    if default is not None:
        value = _convert(value, default)
        if not _fits(value, default):
            raise InputError(
                f"{where}: {name}={value!r} must be of type {type(default).__name__}, "
                f"such as {default!r}"
            )
    if name == "seed" and not 0 <= value < 2**32:
        raise InputError(f"{where}: seed={value} must be at least 0 and below 2**32")
    *sections, field = name.split(".")
    section = config
    for part in sections:
        section = section[part]
    section[field] = known[name] = value


def _unknown(name: str, known: Mapping[str, Any]) -> str:
    """What is wrong with a name that is no field."""
    inside = [other for other in known if other.startswith(f"{name}.")]
    if inside:
        return f"{name!r} is a section of the configuration; set a field of it, such as {inside[0]}"

    def likeness(other: str) -> float:
        return max(
            difflib.SequenceMatcher(None, name[:_LONGEST_NAME], candidate).ratio()
            for candidate in (other, other.rpartition(".")[2])
        )

    nearest = max(known, key=likeness)
    return f"unknown configuration field {name!r}; the nearest is {nearest!r}"


def _convert(value: Any, default: Any) -> Any:
    """The value in the type of the default, where nothing is lost by that."""
    if isinstance(default, float) and type(value) is int:
        return float(value)
    if isinstance(default, tuple) and isinstance(value, list | tuple):
        return tuple(_convert(item, default[0]) for item in value) if default else tuple(value)
    return value


def _fits(value: Any, default: Any) -> bool:
    """Whether the types are equal, those of a tuple's items included."""
    if type(value) is not type(default):
        return False
    return not (isinstance(default, tuple) and default) or all(
        _fits(item, default[0]) for item in value
    )


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
