"""The lessons of a stream, from facts or from documents, in the order that the seed gives."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from smem_jax import json_file
from smem_jax.data import active_reading, fact_lessons
from smem_jax.data.active_reading.chat import ChatSettings
from smem_jax.data.active_reading.strategies import STRATEGIES, named
from smem_jax.data.factbook import lessons as documents
from smem_jax.data.factbook import read_profiles
from smem_jax.data.facts import Fact, read_facts
from smem_jax.data.lessons import Lesson
from smem_jax.data.rewording import reword
from smem_jax.errors import InputError
from smem_jax.evaluate import generate, score
from smem_jax.models.pretrained import Tokenizer
from smem_jax.models.transformer import Transformer
from smem_jax.train import files
from smem_jax.train.learners.batch import Encoder

# Facts are asked about in such portions until enough are found that the model does not know.
_PORTION = 200


class Found(NamedTuple):
    """The lessons to teach, and how many were left out, by reason."""

    lessons: list[Lesson]
    left_out: dict[str, int]


def make(config: ConfigDict, model: Transformer, tokenizer: Tokenizer, fingerprint: str) -> Found:
    """The configured lessons.

    Args:
      model: before it is taught; facts that it knows are left out.
      fingerprint: of the model, under which its answers are kept in `config.cache`.

    Raises InputError for bad data, and where fewer than `lessons.count` are left.
    """
    c = config.lessons
    if not c.file:
        raise InputError("lessons.file='' must name a file of facts or documents")
    if c.kind == "factbook":
        found = _from_documents(config, tokenizer)
    elif c.kind == "facts":
        found = _from_facts(config, model, tokenizer, fingerprint)
    else:
        raise InputError(f"lessons.kind={c.kind!r} must be 'facts' or 'factbook'")
    if len(found.lessons) < c.count:
        raise InputError(
            f"{c.file}: {len(found.lessons)} lessons are left (left out: {found.left_out}); "
            f"lessons.count={c.count} must be at most that"
        )
    if all(probe.kind == "trained" for lesson in found.lessons for probe in lesson.probes):
        raise InputError(f"{c.file}: no lesson has a question in words that are not trained on")
    return found


def _from_documents(config: ConfigDict, tokenizer: Tokenizer) -> Found:
    c = config.lessons
    profiles = read_profiles(c.file)
    order = np.random.default_rng(config.seed).permutation(len(profiles))
    augmenter: active_reading.Augmenter
    if c.endpoint:
        settings = ChatSettings(c.endpoint, c.endpoint_model)
        cache = Path(config.cache) / "augmentations.jsonl"
        augmenter = active_reading.Endpoint(settings, cache, tokenizer, max(c.lengths))
    else:
        strategies = named(c.strategies) if c.strategies else STRATEGIES
        augmenter = active_reading.BuiltIn(tokenizer, max(c.lengths), documents.quiz, strategies)
    return Found(
        *documents.lessons(
            [profiles[i] for i in order],
            augmenter,
            tokenizer,
            chunk_tokens=c.chunk_tokens,
            passages=c.passages,
            seed=config.seed,
            max_lessons=c.count,
        )
    )


def _from_facts(
    config: ConfigDict, model: Transformer, tokenizer: Tokenizer, fingerprint: str
) -> Found:
    """The first facts that the model does not know and that fit."""
    c = config.lessons
    facts = read_facts(c.file)
    order = np.random.default_rng(config.seed).permutation(len(facts))
    found = Found([], {"already_known": 0, "too_long": 0, "no_rewording": 0})
    for start in range(0, len(facts), _PORTION):
        portion = [facts[i] for i in order[start : start + _PORTION]]
        known = _known(config, model, tokenizer, fingerprint, portion) if c.skip_known else set()
        made = fact_lessons.lessons(portion, reword, c.frames, c.passages, c.probes, config.seed)
        too_long = set(Encoder(tokenizer, made, c.lengths, False).too_long())
        for number, lesson in enumerate(made):
            if len(found.lessons) == c.count:
                return found
            if portion[number].question in known:
                found.left_out["already_known"] += 1
            elif number in too_long:
                found.left_out["too_long"] += 1
            elif all(probe.kind == "trained" for probe in lesson.probes):
                found.left_out["no_rewording"] += 1
            else:
                found.lessons.append(lesson)
    return found


def _known(
    config: ConfigDict,
    model: Transformer,
    tokenizer: Tokenizer,
    fingerprint: str,
    facts: Sequence[Fact],
) -> set[str]:
    """The questions that the model answers right; what was asked is kept for the next stream."""
    most = config.evaluate.max_new_tokens
    path = Path(config.cache) / f"answers-{fingerprint}-{most}.json"
    said: dict[str, str] = json_file.read(path) if path.is_file() else {}
    if not all(isinstance(answer, str) for answer in said.values()):
        raise InputError(f"{path}: answers must be texts; remove the file to have it made anew")
    new = [fact.question for fact in facts if fact.question not in said]
    if new:
        prompts = [fact_lessons.ask(question) for question in new]
        answers = generate.answers(model, tokenizer, prompts, most)
        said |= dict(zip(new, answers, strict=True))
        files.write_json(path, said)
    right = [score.exact_match(said[fact.question], fact.accepted) == 1.0 for fact in facts]
    return {fact.question for fact, is_right in zip(facts, right, strict=True) if is_right}
