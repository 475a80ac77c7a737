"""The jobs of the command line: `teach` and `background`, from a configuration to files."""

import json
import resource
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from smem_jax import atomic, json_file
from smem_jax import config as config_module
from smem_jax import patch as patches
from smem_jax.data.facts import Fact, read_facts
from smem_jax.data.questions import Question, read_questions
from smem_jax.data.text import read_text
from smem_jax.data.wordings import check_frames
from smem_jax.errors import InputError
from smem_jax.evaluate.along import Along
from smem_jax.evaluate.measure import Measured, Probe, is_correct, measure, probes
from smem_jax.explain import slot_reads
from smem_jax.memory.layer import MemoryLayer
from smem_jax.models import pretrained
from smem_jax.models.retrofit import memory_layer
from smem_jax.models.transformer import Transformer
from smem_jax.patch.make import Learned, make
from smem_jax.settings import defaults
from smem_jax.train import background as backgrounds
from smem_jax.train import files, retrofitted
from smem_jax.train.clock import Clock
from smem_jax.train.examples import Examples, Schedule, by_length, training_pairs
from smem_jax.train.loop import train
from smem_jax.train.prepare import prepare
from smem_jax.train.processes import WorkdirLock
from smem_jax.train.versions import versions

_CONFIG, _BACKGROUND = "config.json", "background.safetensors"


class _Data(NamedTuple):
    """Everything read from files, before anything is computed."""

    facts: list[Fact]
    examples: list[Examples]
    probes: list[Probe]
    text: list[str]
    questions: list[Question]
    documents: backgrounds.Documents | None  # the background; None where its statistics are given


class _Base(NamedTuple):
    """The model before it is taught, with an empty memory."""

    model: Transformer
    tokenizer: pretrained.Tokenizer
    fingerprint: str


def teach(config: ConfigDict, workdir: Path, overwrite: bool = False) -> dict[str, Any]:
    """Teaches a model facts and measures what it cost; returns what `summary.json` says.

    A work directory with an unfinished run of the same configuration is resumed; `overwrite` starts
    anew. Raises InputError for bad input, before anything is written.
    """
    clock = Clock()
    retrofitted.check(config)
    _state_of(workdir, config, overwrite)
    with clock("load"):
        found = pretrained.load(config.model)
        data = _read(config, found.tokenizer)
        model = retrofitted.build(found, config)
        base = _Base(model, found.tokenizer, pretrained.fingerprint(found.tensors))
        found.tensors.clear()
    with WorkdirLock(workdir):
        if _state_of(workdir, config, overwrite) == "new":
            files.empty(workdir, _CONFIG)
        return _teach(config, workdir, base, data, clock)


def _teach(
    config: ConfigDict, workdir: Path, base: _Base, data: _Data, clock: Clock
) -> dict[str, Any]:
    """The run itself, in a work directory that is its own."""
    model, block = base.model, config.memory.block
    layer = memory_layer(model, block)
    atomic.write_text(workdir / _CONFIG, config_module.to_json(config))
    with clock("background"):
        background = _background(config, base, data.documents, workdir)
    with clock("measure before"):
        before = _before(config, model, base.tokenizer, data, workdir)
    with clock("examples"):
        loss_on, cached = config.facts.loss_on, config.train.cache_prefix
        prepared = prepare(model, block, data.examples, background, loss_on, cached)
    with clock("teach"):
        schedule = Schedule(data.examples, config.train.batch_size, config.seed)
        along = Along(base.tokenizer, data.probes, data.text)
        learned = train(model, prepared, schedule, config, workdir, along)
        patch = _patch(config, learned, layer, base.fingerprint, data.facts, workdir)
        patches.save(patch, workdir / patches.LEARNED)
        patches.put(patch, layer)
    del prepared
    with clock("measure after"):
        after = _measure(config, model, base.tokenizer, data)
    _write_answers(workdir / "answers.jsonl", data.probes, before, after)
    with clock("slot reads"):
        found = slot_reads.slot_reads(
            model,
            base.tokenizer,
            block,
            data.facts,
            config.facts.frames[0],
            config.facts.seq_len,
            learned.slots,
            background,
            data.documents,
        )
        atomic.write_text(workdir / slot_reads.FILE, json.dumps(found))
    summary = {
        **{
            name: {"before": before.figures[name], "after": after.figures[name]}
            for name in before.figures
        },
        "num_facts": len(data.facts),
        "seconds": clock.total(),
        "seconds_by_part": clock.parts,
        "peak_rss_bytes": _peak_rss_bytes(),
        "slots_updated": len(learned.slots),
        "num_slots": layer.config.num_slots,
        "slot_use": {"share": background.slot_share, "perplexity": background.slot_perplexity},
        "steps": config.train.steps,
        "base_model": config.model,
        "fingerprint": base.fingerprint,
        "versions": versions(),
        "seed": config.seed,
        "config": json.loads(config_module.to_json(config)),
    }
    files.write_json(workdir / "summary.json", summary)
    return summary


def background(config: ConfigDict, output: Path) -> dict[str, Any]:
    """Measures background text at the configured memory layer and writes it to `output`.

    Returns `num_documents`, `share` and `perplexity` of the slots' use.
    """
    retrofitted.check(config)
    if output.is_dir() or output.suffix != ".safetensors":
        raise InputError(f"--output {output} must be the name of a .safetensors file")
    atomic.check_writable(output.parent)
    base = pretrained.load(config.model)
    documents = _documents(config, base.tokenizer)
    model = retrofitted.build(base, config)
    found = _measure_background(config, model, pretrained.fingerprint(base.tensors), documents)
    backgrounds.save(found, output)
    return {
        "num_documents": found.num_documents,
        "share": found.slot_share,
        "perplexity": found.slot_perplexity,
    }


def _state_of(workdir: Path, config: ConfigDict, overwrite: bool) -> str:
    """'new' or 'resume'; InputError where files of something else would be lost."""
    if files.is_new(workdir):
        return "new"
    previous = workdir / _CONFIG
    if not config_module.is_of(previous, defaults()):
        raise InputError(f"--workdir {workdir} exists and is no work directory of `smem teach`")
    if overwrite:
        return "new"
    if (workdir / "summary.json").is_file():
        raise InputError(f"--workdir {workdir} holds a finished run; --overwrite starts anew")
    if previous.read_text() != config_module.to_json(config):
        raise InputError(
            f"--workdir {workdir} holds an unfinished run of another configuration; give that one "
            "to resume it, or --overwrite to start anew"
        )
    return "resume"


def _read(config: ConfigDict, tokenizer: pretrained.Tokenizer) -> _Data:
    if not config.facts.file:
        raise InputError("facts.file='' must name a JSON-lines file of facts")
    check_frames(config.facts.frames)
    check_frames(config.evaluate.frames)
    facts = read_facts(config.facts.file)
    c = config.background
    pairs = training_pairs(facts, config.facts.frames, config.facts.statements)
    return _Data(
        facts,
        by_length(tokenizer, pairs, config.facts.seq_len, config.train.num_lengths),
        probes(facts, config.evaluate.frames),
        read_text(config.evaluate.text) if config.evaluate.text else [],
        read_questions(config.evaluate.questions) if config.evaluate.questions else [],
        _documents(config, tokenizer) if c.text or c.questions or not c.file else None,
    )


def _documents(config: ConfigDict, tokenizer: pretrained.Tokenizer) -> backgrounds.Documents:
    return backgrounds.read(config.background, tokenizer, config.facts.frames)


def _measure_background(config, model, fingerprint: str, documents: backgrounds.Documents):
    return backgrounds.measure(
        model,
        config.memory.block,
        documents,
        fingerprint=fingerprint,
        memory=retrofitted.description(config),
        sample_tokens=config.background.sample_tokens,
        seed=config.seed,
    )


def _background(
    config: ConfigDict, base: _Base, documents: backgrounds.Documents | None, workdir: Path
) -> backgrounds.Background:
    """The configured background, or the run's own; a copy goes into the work directory."""
    own = workdir / _BACKGROUND
    expected = base.fingerprint, retrofitted.description(config)
    if config.background.file:
        found = backgrounds.load(Path(config.background.file), *expected)
    elif own.is_file():
        found = backgrounds.load(own, *expected)
    else:
        assert documents is not None  # they are read unless background.file is given
        found = _measure_background(config, base.model, base.fingerprint, documents)
    if not own.is_file():
        backgrounds.save(found, own)
    backgrounds.apply(found, base.model, config.memory.block)
    return found


def _measure(config, model, tokenizer, data: _Data) -> Measured:
    return measure(
        model, tokenizer, data.probes, data.text, data.questions, config.evaluate.max_new_tokens
    )


def _before(config, model, tokenizer, data: _Data, workdir: Path) -> Measured:
    """The measurements of the untaught model; a resumed run reads them from its first start."""
    path = workdir / "before.json"
    if path.is_file():
        try:
            return Measured(**json_file.read(path))
        except TypeError as error:
            raise InputError(f"{path}: not what was measured ({error}); remove it") from error
    found = _measure(config, model, tokenizer, data)
    files.write_json(path, found._asdict())
    return found


def _patch(
    config: ConfigDict,
    learned: Learned,
    layer: MemoryLayer,
    fingerprint: str,
    facts: Sequence[Fact],
    workdir: Path,
) -> patches.Patch:
    return make(
        learned,
        layer,
        name=patches.name_for(workdir),
        base=config.model,
        fingerprint=fingerprint,
        memory=config.memory.to_dict(),
        taught=[f"{fact.question} {fact.answer}" for fact in facts],
        settings=config.train.to_dict(),
    )


def _write_answers(path: Path, asked: Sequence[Probe], before: Measured, after: Measured) -> None:
    lines = []
    for probe, old, new in zip(asked, before.answers, after.answers, strict=True):
        record = {
            "fact": probe.fact.id,
            "kind": probe.kind,
            "prompt": probe.prompt,
            "accepted": probe.fact.accepted,
            "before": old,
            "after": new,
            "correct_before": is_correct(probe, old),
            "correct_after": is_correct(probe, new),
        }
        lines.append(json.dumps(record) + "\n")
    atomic.write_text(path, "".join(lines))


def _peak_rss_bytes() -> int:
    """The most memory that this process has held; macOS counts it in bytes, Linux in KiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
