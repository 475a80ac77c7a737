"""What a checkpoint says of itself beside the arrays: of which run it is, and how to check it."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from smem_jax.errors import InputError
from smem_jax.train.fingerprints import fingerprints

_FORMAT = 1
_FIELDS = ("config", "position", "arrays", "fingerprints")


def by_name(tree: Any) -> dict[str, Any]:
    """The leaves by their path, as in `model.blocks.0.scale`; ValueError if two have the same."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    named = {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}
    if len(named) < len(leaves):
        raise ValueError("two arrays of the state have the same name")
    return named


def record(
    config: Any, arrays: Mapping[str, jax.Array], positions: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """A record, as JSON, of the arrays and of the position of every process."""
    merged: dict[str, Any] = {}
    for position in positions:
        _merge(position, merged, "position")
    content = {
        "format": _FORMAT,
        "config": config,
        "position": merged,
        "arrays": {name: _description(array) for name, array in arrays.items()},
        "fingerprints": fingerprints(arrays),
    }
    # With a digest, so that a changed byte is not taken for another configuration.
    return {"content": content, "sha256": _digest(content)}


def read(path: Path) -> dict[str, Any]:
    """The content of a record; OSError, ValueError, KeyError or TypeError where it is damaged."""
    try:
        stored = json.loads(path.read_bytes())
        content = stored["content"]
        is_right = _digest(content) == stored["sha256"] and _is_whole(content)
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    if not is_right:
        raise ValueError("not what was saved")
    return content


def _is_whole(content: Any) -> bool:
    if content["format"] != _FORMAT:
        return True  # for `check_same_run` to refuse
    return all(isinstance(content[field], dict) for field in _FIELDS)


def check_same_run(
    where: Path,
    content: Mapping[str, Any],
    config: Any,
    arrays: Mapping[str, Any],
    in_part: bool = False,
) -> None:
    """Raises InputError where a record is of another configuration or of other arrays.

    With `in_part` it may have more arrays than those given.
    """
    if content["format"] != _FORMAT:
        raise InputError(f"{where} has format {content['format']}; {_FORMAT} is right")
    differences = _differences(content["config"], config)
    if differences:
        raise InputError(f"{where} is of another configuration: {'; '.join(differences)}")
    saved = content["arrays"]
    for name in [*(saved if not in_part else arrays), *(n for n in arrays if n not in saved)]:
        there = saved.get(name, "missing")
        here = _description(arrays[name]) if name in arrays else "missing"
        if there != here:
            raise InputError(
                f"{where} is of another model: {name} is {there} there and {here} here"
            )


def _merge(source: Mapping[str, Any], target: dict[str, Any], where: str) -> None:
    for key, value in source.items():
        if isinstance(value, dict):
            # Never the dictionary of `source` itself, which would then be changed.
            value_there = target.setdefault(key, {})
            if isinstance(value_there, dict):
                _merge(value, value_there, f"{where}.{key}")
                continue
        if target.setdefault(key, value) != value:
            raise ValueError(
                f"{where}.{key} is {target[key]} in one process and {value} in another"
            )


def _description(array: Any) -> str:
    return f"{array.dtype}[{','.join(map(str, array.shape))}]"


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _differences(saved: Any, now: Any, name: str = "") -> list[str]:
    if isinstance(saved, dict) and isinstance(now, dict):
        return [
            difference
            for key in sorted(saved.keys() | now.keys())
            for difference in _differences(
                saved.get(key), now.get(key), f"{name}.{key}" if name else key
            )
        ]
    if saved == now:
        return []
    return [f"{name} is {json.dumps(saved)} there and {json.dumps(now)} here"]
