"""`smem explain`: what the slots that each fact would train are read by, as figures and numbers.

What a memory layer reads depends on what is frozen below it, so the untaught model tells what a
taught one reads. Each fact is a batch of its own, as in the stream of arXiv 2510.15103: the slots
that it would train are selected from the reads of all its rows, its question and paraphrases in
each frame. A fact without paraphrases has those that a stream would make by rule.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from smem_jax import atomic, slots
from smem_jax.data.facts import Fact, read_facts
from smem_jax.data.rewording import reword
from smem_jax.data.wordings import check_frames
from smem_jax.errors import InputError
from smem_jax.explain import analysis, page
from smem_jax.explain.reads import reads, sample
from smem_jax.explain.rows import Rows, rows_of
from smem_jax.explain.summary import Ordinary, Taught, summary
from smem_jax.models import pretrained
from smem_jax.models.transformer import Transformer
from smem_jax.scores import background_total
from smem_jax.train import background as backgrounds
from smem_jax.train import retrofitted
from smem_jax.train.background import Documents

_LEAST_FACTS = 2  # have an overlap

_select_read_slots = jax.jit(slots.select_read_slots, static_argnames=("top_t", "mode"))


def explain(config: ConfigDict, output: Path, facts: int) -> dict[str, Any]:
    """Writes `explain.md`, its figures and `explain.json` into `output`; returns the last.

    Args:
      config: as for `smem teach`. Of it count `model`, `memory`, `background`, `seed`,
        `facts.file`, `facts.frames`, `facts.seq_len`, `train.top_t`, `train.selection` and
        `train.max_document_frequency`.
      output: a directory, made where it is missing; files of these names are replaced.
      facts: how many of the file's facts, from its first on; all where it has fewer.

    Raises InputError for bad input, before anything is written.
    """
    retrofitted.check(config)
    _check(config, output, facts)
    base = pretrained.load(config.model)
    taught = [_worded(fact, config.seed) for fact in read_facts(config.facts.file)[:facts]]
    if len(taught) < _LEAST_FACTS:
        raise InputError(
            f"{config.facts.file}: one fact has no other to compare with; two are right"
        )
    rows = [rows_of(base.tokenizer, f, config.facts.frames, config.facts.seq_len) for f in taught]
    documents = backgrounds.read(config.background, base.tokenizer, config.facts.frames)
    model = retrofitted.build(base, config)
    background = _background(config, model, pretrained.fingerprint(base.tensors), documents)
    base.tensors.clear()
    found = _teach(config, model, background, taught, rows)
    if not any(len(one.chosen) for one in found):
        raise InputError(
            f"train.max_document_frequency={config.train.max_document_frequency} leaves no fact a "
            "slot to train"
        )
    ordinary = _ordinary(config, model, base.tokenizer, documents)
    described = {
        "base_model": config.model,
        "fingerprint": background.fingerprint,
        "memory": config.memory.to_dict(),
        "top_t": config.train.top_t,
        "selection": config.train.selection,
        **summary(found, ordinary, background.document_frequency, background.num_documents),
    }
    output.mkdir(parents=True, exist_ok=True)
    page.write(output, described, found, background.document_frequency)
    text = json.dumps(described, indent=2, ensure_ascii=False, allow_nan=False)
    atomic.write_text(output / "explain.json", text + "\n")
    return described


def _worded(fact: Fact, seed: int) -> Fact:
    """The fact with the wordings that rules make of its question, where it brings none."""
    if fact.paraphrases:
        return fact
    return dataclasses.replace(fact, paraphrases=reword(fact.question, seed).training)


def _check(config: ConfigDict, output: Path, facts: int) -> None:
    if facts < _LEAST_FACTS:
        raise InputError(f"--facts {facts}: at least {_LEAST_FACTS}, to be compared, are right")
    if not config.facts.file:
        raise InputError("facts.file='' must name a JSON-lines file of facts")
    if not (config.background.text or config.background.questions):
        raise InputError("background.text and background.questions are both ''; one must be a file")
    if output.exists() and not output.is_dir():
        raise InputError(f"--output {output} is a file; a directory is right")
    atomic.check_writable(output)
    check_frames(config.facts.frames)


def _background(
    config: ConfigDict, model: Transformer, fingerprint: str, documents: Documents
) -> backgrounds.Background:
    """The configured background, or one that is measured here; the memory layer is fitted to it."""
    described = retrofitted.description(config)
    if config.background.file:
        found = backgrounds.load(Path(config.background.file), fingerprint, described)
        backgrounds.apply(found, model, config.memory.block)
        return found
    return backgrounds.measure(
        model,
        config.memory.block,
        documents,
        fingerprint=fingerprint,
        memory=described,
        sample_tokens=config.background.sample_tokens,
        seed=config.seed,
    )


def _teach(
    config: ConfigDict,
    model: Transformer,
    background: backgrounds.Background,
    facts: list[Fact],
    rows: list[Rows],
) -> list[Taught]:
    """Each fact with the slots that a step on it alone would train."""
    longest = max(int(r.mask.sum(axis=1).max()) for r in rows)
    rows = [r.cut(longest) for r in rows]
    read = reads(model, config.memory.block, np.concatenate([r.tokens for r in rows]), "facts")
    found, start = [], 0
    for number, (fact, its) in enumerate(zip(facts, rows, strict=True)):
        here = slice(start, start + len(its.tokens))
        start = here.stop
        indices, weights = read.indices[here], read.weights[here]
        chosen = _select(config, background, indices, its.mask, number)
        share = analysis.token_share(indices, weights, its.mask, chosen)
        found.append(Taught(fact, its, chosen, share, analysis.readers(indices, its.mask)))
    return found


def _select(
    config: ConfigDict,
    background: backgrounds.Background,
    indices: np.ndarray,
    mask: np.ndarray,
    number: int,
) -> np.ndarray:
    mode, frequency = config.train.selection, background.document_frequency
    top_t = config.train.top_t
    if mode == "read":  # room for all of them
        top_t = min(indices.size, config.memory.num_slots)
    selection = _select_read_slots(
        indices,
        frequency,
        background.num_documents,
        top_t,
        mask,
        mode,
        jax.random.fold_in(jax.random.key(config.seed), number) if mode == "random" else None,
        background_total(frequency) if mode == "kl" else None,
        config.train.max_document_frequency or None,
    )
    return np.asarray(selection.slots)[np.asarray(selection.is_real)]


def _ordinary(
    config: ConfigDict, model: Transformer, tokenizer: pretrained.Tokenizer, documents: Documents
) -> Ordinary:
    """The reads of random background documents, `sample_tokens` with their padding at most."""
    part = sample(documents, config.background.sample_tokens, config.seed)
    found = reads(model, config.memory.block, part.tokens, "ordinary text")
    is_token = np.arange(part.tokens.shape[1]) < part.lengths[:, None]
    return Ordinary(part.tokens, is_token, found.indices, tokenizer.decode)
