"""What a stream starts from: the model, its lessons, and what runs on the same model share.

Statistics of background text and the base model's scores depend on the model and the data alone, so
runs keep them under `config.cache`, in files named by what they were made of.
"""

import dataclasses
import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from smem_jax.data.lessons import Lesson
from smem_jax.errors import InputError
from smem_jax.evaluate.held_out import Files, Suite
from smem_jax.models import pretrained
from smem_jax.models.config import ModelConfig
from smem_jax.models.retrofit import memory_blocks, memory_layer
from smem_jax.models.transformer import Transformer
from smem_jax.train import background as backgrounds
from smem_jax.train import files, learners, retrofitted, stream_lessons, subject
from smem_jax.train.recall_matrix import RecallMatrix


class Inputs(NamedTuple):
    """A model and what it is to be taught.

    Attributes:
      model: with a memory layer where the learner needs one.
      block: number of the block that has it.
      background: what ordinary text reads there, for methods with a memory layer.
      documents: background text.
      lessons: in the order of the stream.
      left_out: numbers of lessons that were left out, by reason.
    """

    model: Transformer
    tokenizer: pretrained.Tokenizer
    fingerprint: str
    block: int
    background: backgrounds.Background | None
    documents: backgrounds.Documents
    lessons: list[Lesson]
    left_out: dict[str, int]


class _Base(NamedTuple):
    model: Transformer
    tokenizer: Any  # of `pretrained`, or of bytes, which has the same methods
    fingerprint: str
    is_pretrained: bool  # its memory layers are, too


def load(config: ConfigDict) -> Inputs:
    """Reads all inputs, and measures what neither `background.file` nor the cache holds."""
    base = _base(config)
    retrofitted.check_lengths(config, base.model.config.max_positions)
    blocks = memory_blocks(base.model)
    block = blocks[0] if blocks else config.memory.block
    if blocks:
        learners.check_memory(config, memory_layer(base.model, block))
    documents = backgrounds.read(config.background, base.tokenizer, config.lessons.frames)
    untaught = _untaught(config, base.fingerprint)
    lessons = stream_lessons.make(config, base.model, base.tokenizer, untaught)
    background = None
    if learners.needs_memory(config):
        background = _background(config, base, block, documents)
        backgrounds.apply(background, base.model, block)
    return Inputs(
        base.model, base.tokenizer, base.fingerprint, block, background, documents, *lessons
    )


def suite(config: ConfigDict, tokenizer: pretrained.Tokenizer) -> Suite:
    """The held-out tasks whose files are configured, read."""
    c = config.evaluate
    where = Files(**{field.name: c[field.name] for field in dataclasses.fields(Files)})
    limits = {task: limit for task, limit in c.limits.items() if limit}
    found = Suite(where, tokenizer, limits, c.max_new_tokens)
    found.read()
    return found


def before(config: ConfigDict, inputs: Inputs, tasks: Suite) -> dict[str, np.ndarray]:
    """The held-out scores of the model before it is taught anything."""
    c = config.evaluate
    names = [*tasks.tasks, "nq_shots"] if "nq" in tasks.tasks else tasks.tasks
    data = [Path(c[name]).read_bytes() for name in names]
    untaught = _untaught(config, inputs.fingerprint)
    key = _hash(untaught, names, sorted(c.limits.items()), c.max_new_tokens, *data)
    path = Path(config.cache) / f"held_out-{key}.npz"
    if not path.is_file():
        files.write_npz(path, **tasks.measure(inputs.model))
    return files.read_npz(path)


def recall_before(config: ConfigDict, inputs: Inputs, recall: RecallMatrix) -> dict[str, float]:
    """The recall of all lessons before any is taught, by kind of question."""
    probes = [probe for lesson in inputs.lessons for probe in lesson.probes]
    untaught = _untaught(config, inputs.fingerprint)
    path = Path(config.cache) / f"recall-{_hash(untaught, probes)}.npz"
    if not path.is_file():
        files.write_npz(path, **recall.shares(inputs.model, len(inputs.lessons)))
    shares = {kind: kept[~np.isnan(kept)] for kind, kept in files.read_npz(path).items()}
    return {kind: float(asked.mean()) for kind, asked in shares.items() if asked.size}


def _untaught(config: ConfigDict, fingerprint: str) -> str:
    """By what the answers of the untaught model are kept: it may lack a feed-forward network."""
    if learners.needs_memory(config) and config.memory.placement == "instead":
        return f"{fingerprint}-without-{config.memory.block}"
    return fingerprint


def _base(config: ConfigDict) -> _Base:
    if (Path(config.model) / "checkpoints").is_dir():  # of `smem train`
        found = subject.load(config.model)
        return _Base(found.model, found.tokenizer, found.fingerprint, True)
    base = pretrained.load(config.model)
    fingerprint = pretrained.fingerprint(base.tensors)
    if config.compute_dtype != base.config.compute_dtype:
        base = base._replace(config=_with_compute_dtype(base.config, config.compute_dtype))
        fingerprint = f"{fingerprint}-{config.compute_dtype}"  # what is measured differs
    if learners.needs_memory(config):
        model = retrofitted.build(base, config)
    else:
        model = Transformer.from_tensors(base.config, base.tensors)
    base.tensors.clear()
    return _Base(model, base.tokenizer, fingerprint, False)


def _with_compute_dtype(sizes: ModelConfig, compute_dtype: str) -> ModelConfig:
    try:
        return dataclasses.replace(sizes, compute_dtype=compute_dtype)
    except ValueError as error:
        raise InputError(str(error)) from error


def _background(
    config: ConfigDict, base: _Base, block: int, documents: backgrounds.Documents
) -> backgrounds.Background:
    memory = "pretrained" if base.is_pretrained else retrofitted.description(config)
    if config.background.file:
        return backgrounds.load(Path(config.background.file), base.fingerprint, memory)
    sample_tokens = config.background.sample_tokens
    contents = (array.tobytes() for array in documents)
    key = _hash(base.fingerprint, memory, *contents, sample_tokens)
    path = Path(config.cache) / f"background-{key}.safetensors"

    def measured() -> backgrounds.Background:
        return backgrounds.measure(
            base.model,
            block,
            documents,
            fingerprint=base.fingerprint,
            memory=memory,
            sample_tokens=sample_tokens,
            seed=0,
            fit_layer=not base.is_pretrained,
        )

    return backgrounds.kept(path, base.fingerprint, memory, measured)


def _hash(*parts: Any) -> str:
    digest = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else repr(part).encode()
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()[:16]
