"""The lines of sweeps, read back and gathered over seeds."""

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from smem_jax import config as config_module
from smem_jax.errors import InputError
from smem_jax.report.results import methods
from smem_jax.stream_settings import stream_defaults
from smem_jax.train import result_lines

_REQUIRED = {"learner": dict, "config": dict, "figures": dict, "recall": dict, "num_lessons": int}
# Fields that say how a run was made or measured, and not what was learned.
_APART = ("seed", "cache", "learner.num_parts")
_APART_SECTIONS = ("evaluate.",)
# Fields that a method makes use of, where others do not.
_OF_METHODS = {
    "learner.rank": ("lora",),
    "learner.alpha": ("lora",),
    **{
        f"learner.{name}": ("sparse",)
        for name in (
            "top_t",
            "selection",
            "select_once",
            "new_rows_only",
            "max_document_frequency",
            "relevance_threshold",
            "relevance_window",
            "missed_steps",
            "drift_weight",
            "drift_tokens",
            "drift_readers",
        )
    },
    **{f"memory.{name}": ("sparse", "memory") for name in stream_defaults().memory},
}
# Streams of fewer lessons than this share of the longest are trials, and not compared with it.
_LENGTH = 0.95


class Setting(NamedTuple):
    """Runs that differ in nothing but their seed.

    Attributes:
      method: its label; see `methods.label`.
      fields: the configuration by dotted name, without what has no bearing on learning.
      runs: the lines, by seed; at least one.
    """

    method: str
    fields: dict[str, Any]
    runs: tuple[dict[str, Any], ...]


class Experiment(NamedTuple):
    """All that was run for one base model and one stream.

    Attributes:
      name: in file names and marks of the page.
      settings: in the order of their methods.
      failed: names of runs that failed.
      trials: number of runs left out for being of shorter streams.
    """

    name: str
    settings: list[Setting]
    failed: list[str]
    trials: int


def read(name: str, paths: Sequence[Path]) -> Experiment:
    """The experiment that the lines of some files are of.

    The last line of a run's name in a file counts; of the same run in two files, that of the later
    file. Raises InputError for a missing or damaged file, for a line that lacks a field, and for
    lines of different base models or kinds of lessons.
    """
    done: dict[str, tuple[str, dict[str, Any]]] = {}
    failed: dict[str, str] = {}
    for path in paths:
        if not path.is_file():
            raise InputError(f"{path}: no such file of results")
        lines = {line["name"]: (where, line) for where, line in result_lines.results(path)}
        for where, line in lines.values():
            if result_lines.is_done(line):
                _check(where, line)
                done[line.get("key", line["name"])] = (where, line)
            else:
                failed[line.get("key", line["name"])] = line["name"]
    if not done:
        raise InputError(f"{', '.join(map(str, paths))}: no finished run")
    _check_alike(list(done.values()))
    longest = max(line["num_lessons"] for _, line in done.values())
    kept = [line for _, line in done.values() if line["num_lessons"] >= _LENGTH * longest]
    failed = {key: run for key, run in failed.items() if key not in done}
    return Experiment(name, _gather(kept), list(failed.values()), len(done) - len(kept))


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values of nested mappings by their dotted names."""
    found: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


# As a line has it: of JSON, with lists for tuples.
_DEFAULTS = flat(json.loads(config_module.to_json(stream_defaults())))


def mean_seconds(setting: Setting) -> float | None:
    """The time of a run, where the lines say it."""
    took = [run["seconds"] for run in setting.runs if "seconds" in run]
    return statistics.fmean(took) if took else None


def _gather(lines: Sequence[dict[str, Any]]) -> list[Setting]:
    # Of runs that were only measured in another way, the last one of a seed.
    by_fields: dict[str, dict[int, dict[str, Any]]] = {}
    for line in lines:
        by_seed = by_fields.setdefault(repr(sorted(_fields(line).items())), {})
        by_seed[line.get("seed", 0)] = line
    settings = [
        Setting(
            methods.label(runs[0]["learner"]),
            _fields(runs[0]),
            tuple(runs),
        )
        for runs in ([by_seed[seed] for seed in sorted(by_seed)] for by_seed in by_fields.values())
    ]
    return sorted(settings, key=lambda s: (methods.rank(s.method), s.runs[0]["name"]))


def _fields(line: Mapping[str, Any]) -> dict[str, Any]:
    """What has a bearing on learning; a field that is younger than the line has its default."""
    method = line["learner"].get("method")
    return {
        name: value
        for name, value in {**_DEFAULTS, **flat(line["config"])}.items()
        if name not in _APART
        and not name.startswith(_APART_SECTIONS)
        and method in _OF_METHODS.get(name, (method,))
    }


def _check(where: str, line: Mapping[str, Any]) -> None:
    for name, kind in _REQUIRED.items():
        if not isinstance(line.get(name), kind):
            raise InputError(
                f"{where}: {name}={line.get(name)!r} of run {line['name']!r} must be of type "
                f"{kind.__name__}"
            )
    if not isinstance(line["recall"].get("reworded"), int | float):
        raise InputError(f"{where}: run {line['name']!r} lacks the number recall.reworded")
    for what, is_right, right in _PARTS:
        try:
            fits = is_right(line)
        except (AttributeError, KeyError, TypeError, ValueError):
            fits = False
        if not fits:
            raise InputError(f"{where}: {what} of run {line['name']!r} must be {right}")


def _has_numbers(figure: Any, *names: str) -> bool:
    return all(isinstance(figure[name], int | float) for name in names)


# What a line may lack, and has to be like where it is there.
_PARTS: tuple[tuple[str, Callable[[Mapping[str, Any]], bool], str], ...] = (
    (
        "figures",
        lambda line: all(
            _has_numbers(figure, "before", "after") for figure in line["figures"].values()
        ),
        "objects with the numbers before and after",
    ),
    (
        "curve",
        lambda line: all(_has_numbers(point, "after") for point in line.get("curve", [])),
        "a list of objects with the number after",
    ),
    (
        "matrix",
        lambda line: (
            not line.get("matrix")
            or len(line["matrix"]["after"]) == len(np.array(line["matrix"]["blocks"], float))
        ),
        "numbers 'after', and for each of them a list of numbers in 'blocks'",
    ),
    (
        "seconds",
        lambda line: _has_numbers({"seconds": 0, **line}, "seconds"),
        "a number",
    ),
    (
        "items",
        lambda line: all(
            len(result_lines.unpack(part["before"])) == len(result_lines.unpack(part["after"])) > 0
            for part in line.get("items", {}).values()
        ),
        "numbers before and after, as many of both",
    ),
)


def _check_alike(lines: Sequence[tuple[str, dict[str, Any]]]) -> None:
    first_where, first = lines[0]
    for where, line in lines[1:]:
        for what, one, other in (
            ("base_model", first.get("base_model"), line.get("base_model")),
            ("lessons.kind", _kind(first), _kind(line)),
        ):
            if one != other:
                raise InputError(
                    f"{where}: {what}={other!r}, but {one!r} in {first_where}; give each "
                    "experiment files of its own"
                )


def _kind(line: Mapping[str, Any]) -> Any:
    return flat(line["config"]).get("lessons.kind")
