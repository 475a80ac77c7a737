"""Documents of a prepared data set, by number."""

from pathlib import Path
from typing import Any

from smem_jax.data.render import strings, view
from smem_jax.data.requirements import require
from smem_jax.errors import InputError

_INFO = "dataset_info.json"
_FORMAT = "array_record"


class PreparedDocuments:
    """The documents of a split of a data set, read from its ArrayRecord files one by one.

    Args:
      name: NAME or NAME/CONFIG, as TensorFlow Datasets names it; of its versions the newest.
      split: a split or a part of one, such as `train` or `train[:90%]`.
      data_dir: the directory that it was prepared in; local or mounted.

    Raises InputError for what is missing, partly written or damaged, for a file format without
    random access, and for features that make no document.
    """

    num_threads = 4

    def __init__(self, name: str, split: str, data_dir: Path):
        tfds = require("tensorflow_datasets")
        self._directory = find_version(name, data_dir)
        builder = _open(self._directory)
        check_files(self._directory, builder.info)
        features = builder.info.features
        self._view = view(name.split("/")[0], list(features))
        # Decoding the rest of a record, such as a whole web page, would take most of the time.
        self._features = _subset(tfds, features, self._view.features)
        self._split = split
        try:
            self._records = builder.as_data_source(
                split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES
            )
        except (ValueError, KeyError) as error:
            raise InputError(
                f"{self._directory}: split {split!r} cannot be read; "
                f"there are {', '.join(builder.info.splits)}"
            ) from error

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, number: Any) -> str:
        try:
            record = self._features.deserialize_example_np(self._records[number])
        except (RuntimeError, ValueError, OSError) as error:
            raise InputError(
                f"{self._directory}: record {number} of {self._split!r} cannot be read ({error}); "
                "the data set has to be prepared again"
            ) from error
        return self._view.text(strings(record))


def find_version(name: str, data_dir: Path) -> Path:
    """The directory of the newest complete version of NAME or NAME/CONFIG in `data_dir`.

    Raises InputError, saying what there is and what to do, where there is none.
    """
    again = f"`smem data {name.removeprefix('smem/')} --data-dir {data_dir} ...` prepares it"
    if not data_dir.is_dir():
        raise InputError(f"{data_dir}: no such directory; {again}")
    directory = data_dir / name
    if not directory.is_dir():
        there = ", ".join(sorted(map(str, _prepared(data_dir)))) or "none"
        raise InputError(f"{data_dir}: has no data set {name!r} (there are: {there}); {again}")
    versions = [path for path in directory.iterdir() if path.is_dir() and _version(path)]
    complete = [path for path in versions if (path / _INFO).is_file()]
    if complete:
        return max(complete, key=_version)
    started = [*versions, *directory.glob("incomplete.*"), *directory.glob("*.incomplete*")]
    if started:
        raise InputError(
            f"{started[0]}: only partly written, since its preparation was interrupted; remove it "
            "and prepare the data set again with `smem data`"
        )
    configs = sorted({path.parent.parent.name for path in directory.glob(f"*/*/{_INFO}")})
    if len(configs) == 1:
        return find_version(f"{name}/{configs[0]}", data_dir)
    if configs:
        raise InputError(f"data set {name!r} needs a configuration: {name}/{'|'.join(configs)}")
    raise InputError(f"{directory}: holds no prepared data set; {again}")


def check_files(directory: Path, info: Any) -> None:
    """InputError unless every file of every split is there with the records it should have."""
    if info.file_format.value != _FORMAT:
        raise InputError(
            f"{directory}: written as {info.file_format.value}, which has no random access; "
            f"prepare it again with `smem data`, or with file_format={_FORMAT!r}"
        )
    reader = require("array_record.python.array_record_module").ArrayRecordReader
    for split in info.splits.values():
        for path, expected in zip(split.filepaths, split.shard_lengths, strict=True):
            if not path.is_file():
                raise InputError(f"{path}: no such file, although {directory / _INFO} names it")
            found = reader(str(path)).num_records()
            if found != expected:
                raise InputError(
                    f"{path}: cut short or damaged: {found} records can be read, expected "
                    f"{expected}; copy or prepare the data set again"
                )


def _open(directory: Path) -> Any:
    tfds = require("tensorflow_datasets")
    try:
        return tfds.builder_from_directory(str(directory))
    except Exception as error:  # Whatever a damaged description leads to.
        raise InputError(f"{directory / _INFO}: damaged ({error})") from error


def _subset(tfds: Any, features: Any, wanted: dict[str, Any]) -> Any:
    """The wanted features only; `tfds.decode.PartialDecoding` would import TensorFlow."""
    return tfds.features.FeaturesDict(
        {
            name: features[name] if inner is True else _subset(tfds, features[name], inner)
            for name, inner in wanted.items()
        }
    )


def _prepared(data_dir: Path) -> set[Path]:
    """NAME or NAME/CONFIG of every complete data set."""
    found = [*data_dir.glob(f"*/*/{_INFO}"), *data_dir.glob(f"*/*/*/{_INFO}")]
    return {path.parent.parent.relative_to(data_dir) for path in found}


def _version(path: Path) -> tuple[int, ...]:
    """The numbers of a directory name such as 1.0.0; nothing for another name."""
    parts = path.name.split(".")
    return tuple(map(int, parts)) if len(parts) == 3 and all(map(str.isdecimal, parts)) else ()
