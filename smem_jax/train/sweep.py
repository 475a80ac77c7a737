"""Makes the runs of a configuration file and keeps their results; safe to stop at any moment."""

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from smem_jax.errors import InputError
from smem_jax.patch.directory import LEARNED
from smem_jax.train import result_lines
from smem_jax.train.sweep_runs import Run, portable, read_runs


class Outcome(NamedTuple):
    """Names of the runs that are finished, that failed, and that other processes are at."""

    done: list[str]
    failed: list[str]
    elsewhere: list[str]


def sweep(
    config_path: Path,
    results: Path,
    workdirs: Path,
    run: Callable[[ConfigDict, Path], dict[str, Any]],
    defaults: ConfigDict,
    *,
    overrides: Sequence[str] = (),
    only: Sequence[str] = (),
    overwrite: bool = False,
    keep_checkpoints: bool = False,
) -> Outcome:
    """Makes the runs of a file that `results` does not have yet, and adds a line for each.

    A line is the run's summary with `name`, `key` (name and hash of the configuration), `status`
    ('done', or 'failed' with `error`), `config`, and the `items` of `result_lines`. The last line
    of a name counts. A run cut off goes on in its work directory, `workdirs/KEY`. Several processes
    with the same `results` and `workdirs` share the runs. One that ends by InputError is recorded
    as failed, and tried anew by the next sweep; any other exception ends the sweep.

    Args:
      run: makes a run in a work directory, or what is left to do of it, and returns its summary.
      defaults: every field with its default; see `smem_jax.config.load`.
      overrides: of all runs, before their own.
      only: names, or patterns such as 'sparse_*', of the runs wanted; all where empty.
      overwrite: make runs anew whose configuration is another than that of their line.
      keep_checkpoints: of finished runs, too.

    Raises:
      InputError: for bad input, and without `overwrite` for a line of the same name and another
        configuration; with it, too, where a default that was changed since makes the difference.
        Before the first run.
    """
    runs = read_runs(config_path, defaults, overrides, only)
    num_lines = len(result_lines.read(results))
    _check_same(results, runs, overwrite)
    while True:
        made = 0
        for number, item in enumerate(runs, 1):
            if _is_settled(item, results, num_lines):
                continue
            with _claimed(workdirs / f"{item.key}.lock") as is_mine:
                # It may have been finished between the first look and the claim.
                if not is_mine or _is_settled(item, results, num_lines):
                    continue
                left = _time_left(runs, results, num_lines)
                print(f"run {number} of {len(runs)}: {item.name}{left}", flush=True)
                line = _made(item, workdirs / item.key, run, config_path.parent)
                result_lines.append(results, line)
                if line["status"] == "done" and not keep_checkpoints:
                    _drop_checkpoints(workdirs / item.key)
                made += 1
        if not made:  # a pass in which all that is left was with other processes
            return _outcome(runs, results, num_lines)


def _check_same(results: Path, runs: Sequence[Run], overwrite: bool) -> None:
    found = {line["name"]: (where, line) for where, line in result_lines.results(results)}
    for item in runs:
        where, line = found.get(item.name, ("", {"status": "missing"}))
        if not result_lines.is_done(line):
            continue
        had, has = line.get("config", {}), item.fields
        ways = "give it another name, or --overwrite to make it anew"
        if line.get("key") == item.key:
            # A key has no default in it, so one that was changed since would pass for the same run.
            had, has = _shared(had, has), _shared(has, had)
            ways = "the default was changed since, so give it another name"
            if had == has:
                continue
        elif overwrite:
            continue
        was, now = _difference(had, has)
        raise InputError(
            f"{where}: run {item.name!r} was made with {was}, and is now to be made with {now}; "
            f"{ways}"
        )


def _shared(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `one` that `other` has, too, section by section."""
    return {
        name: _shared(value, other[name])
        if isinstance(value, Mapping) and isinstance(other[name], Mapping)
        else value
        for name, value in one.items()
        if name in other
    }


def _difference(was: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, str]:
    """The first field in which two configurations differ, as either has it."""
    for name in [*now, *was]:
        one, other = was.get(name), now.get(name)
        if one != other:
            if isinstance(one, Mapping) and isinstance(other, Mapping):
                texts = _difference(one, other)
                return f"{name}.{texts[0]}", f"{name}.{texts[1]}"
            missing = f"no field {name}"
            return (
                f"{name}={one!r}" if name in was else missing,
                f"{name}={other!r}" if name in now else missing,
            )
    return "another hash", "this one"


def _is_settled(item: Run, results: Path, num_lines: int) -> bool:
    """Whether a run is done, or has failed since the file had `num_lines` lines."""
    return item.key in _settled(results, num_lines)


def _settled(results: Path, num_lines: int) -> dict[str, dict[str, Any]]:
    """By key, the last line of each name, if it is done or newer than the first `num_lines`."""
    found: dict[str, dict[str, Any]] = {}
    for number, (_, line) in enumerate(result_lines.results(results)):
        found.pop(line["name"], None)
        if result_lines.is_done(line) or number >= num_lines:
            found[line["name"]] = line
    return {line.get("key", ""): line for line in found.values()}


def _outcome(runs: Sequence[Run], results: Path, num_lines: int) -> Outcome:
    settled = _settled(results, num_lines)
    outcome = Outcome([], [], [])
    for item in runs:
        line = settled.get(item.key)
        if line is None:
            outcome.elsewhere.append(item.name)
        else:
            (outcome.done if result_lines.is_done(line) else outcome.failed).append(item.name)
    return outcome


def _time_left(runs: Sequence[Run], results: Path, num_lines: int) -> str:
    """An estimate from the runs that are done; empty before the first."""
    settled = _settled(results, num_lines)
    lines = [settled[item.key] for item in runs if item.key in settled]
    took = [line["seconds"] for line in lines if result_lines.is_done(line)]
    if not took:
        return ""
    left = len(runs) - len(lines)
    minutes = round(left * sum(took) / len(took) / 60)
    return f" ({left} left, about {minutes // 60} h {minutes % 60} min)"


@contextmanager
def _claimed(path: Path) -> Iterator[bool]:
    """Whether this process has the lock file; the kernel takes it back from a killed one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_mine = True
        except BlockingIOError:
            is_mine = False
        yield is_mine


def _made(item: Run, workdir: Path, run: Callable, base: Path) -> dict[str, Any]:
    """The line of a run, made now."""
    line = {"name": item.name, "key": item.key, "config": item.fields}
    start = time.monotonic()
    try:
        summary = run(item.config, workdir)
    except InputError as error:
        text = " ".join(str(error).split()).replace(f"{Path.cwd()}{os.sep}", "")
        print(f"run {item.name} failed: {text}", flush=True)
        return {**line, "status": "failed", "error": text}
    found = {"seconds": time.monotonic() - start, **portable(summary, base)}
    return {**found, **line, "status": "done", "items": result_lines.items(workdir)}


def _drop_checkpoints(workdir: Path) -> None:
    for path in (*workdir.glob("checkpoint*"), *workdir.glob(LEARNED)):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
