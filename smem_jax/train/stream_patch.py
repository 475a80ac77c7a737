"""What a stream taught, as a memory patch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from smem_jax import patch as patches
from smem_jax.data.lessons import Lesson
from smem_jax.memory.relevance import NO_GROUP, Relevance
from smem_jax.models.retrofit import memory_layer
from smem_jax.patch.make import Learned, by_lesson, make
from smem_jax.train.learners import Learner
from smem_jax.train.learners.sparse import SparseLearner
from smem_jax.train.stream_inputs import Inputs


def save(
    config: ConfigDict,
    inputs: Inputs,
    learner: Learner,
    summary: Mapping[str, Any],
    workdir: Path,
) -> None:
    """Writes the rows that a stream has trained to its work directory, with what came of it.

    Not for a learner that trains anything else, nor for a model whose memory was pretrained with
    it: there is no base model apart from it to put a patch on.

    Args:
      inputs: what the stream started from, with its untaught table.
      summary: of the stream.
    """
    if not isinstance(learner, SparseLearner):
        return
    layer = memory_layer(inputs.model, inputs.block)
    if layer.table.values[...].any():
        return
    state = learner.state
    slots = np.flatnonzero(np.asarray(state.rows.changed))
    rows = np.asarray(state.rows.values[slots])
    c = config.learner
    texts = [_text_of(lesson) for lesson in inputs.lessons]
    if state.groups is None:
        learned = Learned(slots.astype(np.int32), np.asarray([0, len(slots)], np.int32), rows)
    else:
        groups = np.asarray(state.groups[slots])
        learned = by_lesson(slots, groups, rows)
        texts = [texts[group // c.steps] for group in np.unique(groups) if group != NO_GROUP]
    gate = c.relevance_threshold
    patch = make(
        learned,
        layer,
        name=patches.name_for(workdir),
        base=config.model,
        fingerprint=inputs.fingerprint.removesuffix(f"-{config.compute_dtype}"),
        memory=config.memory.to_dict(),
        relevance=Relevance(gate, c.relevance_window) if gate else None,
        taught=texts,
        settings=c.to_dict(),
        effect=_effect_of(summary),
    )
    patches.save(patch, workdir / patches.LEARNED)


def _text_of(lesson: Lesson) -> str:
    """The first passage of a lesson, in one line."""
    passage = lesson.passages[0]
    return " ".join(f"{passage.prompt} {passage.target}".split())


def _effect_of(summary: Mapping[str, Any]) -> dict[str, float]:
    """What a patch tells of the summary of its stream: recall, and each figure's change."""
    recall: dict[str, Any] = {
        f"recall_{kind}": summary["recall"].get(kind) for kind in ("reworded", "trained")
    }
    figures: Mapping[str, Mapping[str, float]] = summary["figures"]
    changes = {f"{name}_change": f["after"] - f["before"] for name, f in figures.items()}
    return {name: figure for name, figure in {**recall, **changes}.items() if figure is not None}
