"""Writes data sets as ArrayRecord files, with a progress bar."""

import contextlib
import difflib
import functools
import importlib
import io
import logging
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from smem_jax.data.documents import iter_documents
from smem_jax.data.requirements import require
from smem_jax.data.tfds.read import check_files
from smem_jax.data.tfds.sources import PUBLIC, SOURCES, Record, Source, document
from smem_jax.errors import InputError

_FORMAT = "array_record"
_VERSION = "1.0.0"
_OWN = re.compile(r"(text|blocks|jsonl|qa):.+")


def available() -> list[str]:
    """A line for each data set that can be prepared."""
    lines = [
        f"{name:<18}{source.about}; --source {' and '.join(source.files.values())}"
        for name, source in SOURCES.items()
    ]
    lines += [
        f"{name:<18}by TensorFlow Datasets, from the network"
        + (f"; needs {public.needs}" if public.needs else "")
        for name, public in PUBLIC.items()
    ]
    lines.append(
        f"{'any other name':<18}--source text:FILE, blocks:FILE, jsonl:FILE:FIELD, qa:FILE"
    )
    return lines


def prepare(name: str, source: str, data_dir: Path, overwrite: bool = False) -> dict[str, int]:
    """Writes the data set `name` into `data_dir`.

    Args:
      name: one of `available()`; with a source of the form 'text:FILE' and the like (see
        `documents.open_documents`) any name; for a public one also NAME/CONFIG, such as c4/en.
      source: the published file, or the directory with its files; '' for a public data set, which
        TensorFlow Datasets' own code downloads.
      data_dir: made where it is missing.
      overwrite: replace what is there under this name, rather than refusing; a public data set that
        is there is kept.

    Returns the number of documents by the `source` that `open_documents` takes them by. Raises
    InputError for an unknown name, a source that is missing or malformed, and a data set of that
    name that is there already.
    """
    require("tensorflow_datasets")
    data_dir = data_dir.expanduser()
    # What they warn of, such as each try of a download, is in the error if it comes to one.
    for logger in ("absl", "urllib3"):
        logging.getLogger(logger).setLevel(logging.ERROR)
    if source:
        return _local(name, source, data_dir, overwrite)
    builder = _public(name, data_dir)
    target = Path(str(builder.data_dir))
    if target.exists() and not (target / "dataset_info.json").is_file():
        raise InputError(f"{target}: only partly written; remove it and run the same command again")
    _write(builder)
    return _found(builder.info, target, data_dir)


def _local(name: str, source: str, data_dir: Path, overwrite: bool) -> dict[str, int]:
    """Written beside its place, so that what is there stays whole until it is replaced."""
    from smem_jax.data.tfds.builder import Smem, SmemConfig

    about, splits = _splits(name, source)
    target = data_dir / "smem" / name / _VERSION
    if target.exists() and not overwrite:
        complete = (target / "dataset_info.json").is_file()
        state = "there already" if complete else "only partly written"
        raise InputError(f"{target}: {state}; --overwrite replaces it")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="incomplete.", dir=target.parent) as scratch:
        config = SmemConfig(splits, name=name, description=about, version=_VERSION)
        builder = Smem(config=config, data_dir=scratch, file_format=_FORMAT)
        _write(builder)
        if target.exists():
            target.rename(Path(scratch, "replaced"))
        Path(builder.data_dir).rename(target)
        return _found(builder.info, target, data_dir)


def _write(builder: Any) -> None:
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # Its progress bar goes to stderr.
            builder.download_and_prepare(file_format=_FORMAT)
        check_files(Path(str(builder.data_dir)), builder.info)
    except InputError:
        raise
    except ImportError as error:
        what = f"the Python package {error.name!r} is missing" if error.name else str(error)
        raise InputError(f"data set {builder.name!r} cannot be prepared here: {what}") from error
    except Exception as error:  # Downloads fail in many ways, each with its own class.
        raise InputError(
            f"data set {builder.name!r} cannot be prepared: {type(error).__name__}: {error}"
        ) from error


def _found(info: Any, directory: Path, data_dir: Path) -> dict[str, int]:
    name = directory.parent.relative_to(data_dir)
    return {
        f"tfds:{name}:{split}@{data_dir}": found.num_examples
        for split, found in info.splits.items()
    }


def _splits(name: str, source: str) -> tuple[str, dict[str, Callable[[], Iterator[Record]]]]:
    """What a data set is, and the records of each of its splits."""
    if _OWN.match(source):
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            raise InputError(f"name {name!r} must be of the form my_text: a-z, 0-9 and _")
        return source, {"train": lambda: map(document, iter_documents(source))}
    if name not in SOURCES:
        raise _unknown(name, [*SOURCES, *PUBLIC])
    files = _files(name, SOURCES[name], Path(source).expanduser())
    records = SOURCES[name].records
    return SOURCES[name].about, {split: functools.partial(records, files[split]) for split in files}


def _files(name: str, source: Source, path: Path) -> dict[str, Path]:
    """The files by split, of a directory or of a file by itself."""
    if path.is_dir():
        found = {split: path / file for split, file in source.files.items()}
        for missing in (file for file in found.values() if not file.is_file()):
            raise InputError(f"{missing}: no such file; {name!r} is made from it")
        return found
    if not path.is_file():
        raise InputError(f"{path}: no such file or directory")
    for split, file in source.files.items():
        if path.name == file or len(source.files) == 1:
            return {split: path}
    raise InputError(f"{path}: must be named {' or '.join(source.files.values())}")


def _public(name: str, data_dir: Path) -> Any:
    tfds = require("tensorflow_datasets")
    base = name.split("/")[0]
    if base in SOURCES and base not in PUBLIC:
        files = " and ".join(SOURCES[base].files.values())
        raise InputError(f"data set {base!r} is made from {files}; give it with --source")
    if base not in PUBLIC:
        raise _unknown(name, [*SOURCES, *PUBLIC])
    if PUBLIC[base].module:
        importlib.import_module(PUBLIC[base].module)
    try:
        return tfds.builder(name, data_dir=str(data_dir), file_format=_FORMAT)
    except (ValueError, ImportError) as error:
        raise InputError(f"data set {name!r}: {error}") from error


def _unknown(name: str, known: list[str]) -> InputError:
    nearest = difflib.get_close_matches(name, known, 1, cutoff=0.0)[0]
    return InputError(
        f"unknown data set {name!r}; the nearest is {nearest!r} (`smem data --list` lists them; a "
        "file of your own needs --source text:FILE or the like)"
    )
