"""The runs that a configuration file lists for a sweep.

Beside `get_config()` the file has `get_runs()`:

    def get_runs() -> list[dict[str, Any]]:
        axes = {"learner.learning_rate": (1.0, 2.0, 5.0), "seed": (0, 1, 2)}
        return grid("sparse", **axes) + grid("lora", ["learner.method=lora"], **axes)
"""

import difflib
import fnmatch
import hashlib
import itertools
import json
import os
import re
import runpy
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from smem_jax import config as config_module
from smem_jax.errors import InputError

# What is set for a method, and the learning rates to try, by its name.
Methods = Mapping[str, tuple[Sequence[str], Sequence[float]]]
_NAME = re.compile(r"[A-Za-z0-9][\w.,=+-]*")


class Run(NamedTuple):
    """A run to make.

    `fields` is the configuration as JSON, its paths relative to the directory of the file; `key` is
    the name with a hash of those that have not their default, so that it outlives new fields.
    """

    name: str
    config: ConfigDict
    fields: dict[str, Any]
    key: str


def grid(name: str, overrides: Sequence[str] = (), **axes: Sequence[Any]) -> list[dict[str, Any]]:
    """Runs for all combinations of the values of some fields, the last field varying fastest.

    Args:
      name: with which the name of each run begins; the values follow.
      overrides: of all of them, each 'section.field=value'.
      **axes: values by dotted field name, so given as `**{"learner.top_t": (100, 500)}`.

    >>> axes = {"learner.top_t": (5, 9), "seed": [0]}
    >>> for run in grid("sparse", ["learner.selection=tf"], **axes):
    ...     print(run["name"], run["overrides"])
    sparse_top_t5_seed0 ['learner.selection=tf', 'learner.top_t=5', 'seed=0']
    sparse_top_t9_seed0 ['learner.selection=tf', 'learner.top_t=9', 'seed=0']
    """
    runs = []
    for values in itertools.product(*axes.values()):
        point = list(zip(axes, values, strict=True))
        parts = [
            field.rpartition(".")[2] + "-".join(re.findall(r"[\w.+-]+", str(value)))
            for field, value in point
        ]
        runs.append(
            {
                "name": "_".join([name, *parts]),
                "overrides": [*overrides, *(f"{field}={value}" for field, value in point)],
            }
        )
    return runs


def grid_of_methods(prefix: str, methods: Methods, **axes: Sequence[Any]) -> list[dict[str, Any]]:
    """A `grid` of each method, over learning rates of its own and what `axes` has for all.

    >>> for run in grid_of_methods("few", {"lora": (["learner.method=lora"], (1e-4, 3e-4))}):
    ...     print(run["name"], run["overrides"])
    few_lora_learning_rate0.0001 ['learner.method=lora', 'learner.learning_rate=0.0001']
    few_lora_learning_rate0.0003 ['learner.method=lora', 'learner.learning_rate=0.0003']
    """
    return [
        run
        for name, (overrides, rates) in methods.items()
        for run in grid(f"{prefix}_{name}", overrides, **{"learner.learning_rate": rates}, **axes)
    ]


def read_runs(
    config_path: Path,
    defaults: ConfigDict,
    overrides: Sequence[str] = (),
    only: Sequence[str] = (),
) -> list[Run]:
    """The runs of a file, each with its configuration; InputError where one is not right."""
    listed = _listed(config_path)
    chosen = [name for name in listed if _is_wanted(name, only)]
    for pattern in only:
        if not fnmatch.filter(listed, pattern):
            nearest = difflib.get_close_matches(pattern, listed, 1, cutoff=0)[0]
            raise InputError(f"{config_path} has no run {pattern!r}; the nearest is {nearest!r}")
    untouched = json.loads(config_module.to_json(defaults))
    runs = []
    for name in chosen:
        try:
            config = config_module.load(config_path, [*overrides, *listed[name]], defaults)
        except InputError as error:
            raise InputError(f"run {name!r}: {error}") from error
        fields = portable(json.loads(config_module.to_json(config)), config_path.parent)
        chosen_fields = json.dumps(_other_than(fields, untouched), sort_keys=True)
        digest = hashlib.sha256(chosen_fields.encode()).hexdigest()
        runs.append(Run(name, config, fields, f"{name}-{digest[:8]}"))
    return runs


def _listed(path: Path) -> dict[str, list[str]]:
    """Overrides by the name of each run that the file's `get_runs()` lists."""
    if not path.is_file():
        raise InputError(f"{path}: no such configuration file")
    try:
        get_runs = runpy.run_path(str(path)).get("get_runs")
        found = get_runs() if callable(get_runs) else None
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == str(path)]
        where = f"{path}:{lines[-1]}" if lines else str(path)
        raise InputError(f"{where}: {type(error).__name__}: {error}") from error
    if not isinstance(found, list) or not found:
        raise InputError(f"{path}: it must define get_runs(), which returns a list of runs")
    listed: dict[str, list[str]] = {}
    for record in found:
        if not isinstance(record, Mapping) or set(record) != {"name", "overrides"}:
            raise InputError(f"{path}: run {record!r} must have 'name' and 'overrides' alone")
        name = record["name"]
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise InputError(f"{path}: name={name!r} must be letters, digits and any of _.,=+-")
        if name in listed:
            raise InputError(f"{path}: two runs are named {name!r}")
        overrides = record["overrides"]
        if not isinstance(overrides, list | tuple) or not all(
            isinstance(override, str) for override in overrides
        ):
            raise InputError(
                f"{path}: overrides={overrides!r} of run {name!r} must be a list of texts such as "
                "'seed=1'"
            )
        listed[name] = list(overrides)
    return listed


def _other_than(fields: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that have another value than in `defaults`, section by section."""
    found: dict[str, Any] = {}
    for name, value in fields.items():
        default = defaults.get(name)
        if isinstance(value, Mapping) and isinstance(default, Mapping):
            value = _other_than(value, default)
            if value:
                found[name] = value
        elif value != default:
            found[name] = value
    return found


def _is_wanted(name: str, only: Sequence[str]) -> bool:
    return not only or any(fnmatch.fnmatchcase(name, pattern) for pattern in only)


def portable(value: Any, base: Path) -> Any:
    """JSON with its absolute paths relative to `base`: the same text wherever the tree lies."""
    if isinstance(value, dict):
        return {name: portable(item, base) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [portable(item, base) for item in value]
    if isinstance(value, str) and os.path.isabs(value):
        return os.path.relpath(value, base.resolve())
    return value
