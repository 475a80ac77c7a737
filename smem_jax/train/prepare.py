"""Everything that the training steps need, computed once from facts and background."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from smem_jax.models.retrofit import memory_layer
from smem_jax.models.transformer import Transformer
from smem_jax.scores import background_total
from smem_jax.train import prefix
from smem_jax.train.background import Background
from smem_jax.train.examples import Examples
from smem_jax.train.step import Batch, DriftSample, Ordinary
from smem_jax.train.working_set import WorkingSet


class Prepared(NamedTuple):
    """One `Batch` for each group of examples with all its rows, and what is the same for all."""

    working: WorkingSet
    groups: list[Batch[np.ndarray]]
    ordinary: Ordinary[np.ndarray]
    drift: DriftSample[np.ndarray]


def prepare(
    model: Transformer,
    block: int,
    examples: Sequence[Examples],
    background: Background,
    loss_on: str,
) -> Prepared:
    """Runs the frozen prefix of all examples and numbers the slots that they read."""
    layer = memory_layer(model, block)
    found = []
    for group in examples:
        states = prefix.run(model, block, group.encoded.tokens, "examples")
        found.append((states, *prefix.reads(layer, states.hidden)))
    masks = [_token_mask(group) for group in examples]
    working = WorkingSet([reads[1][mask] for reads, mask in zip(found, masks, strict=True)])
    batches = []
    for group, mask, (states, indices, weights) in zip(examples, masks, found, strict=True):
        # Without a gate nothing reads the hidden state, and it need not be kept.
        hidden = states.hidden if layer.gate is not None else states.hidden[..., :0]
        real = mask[..., None]
        rows, weights = working.rows(indices * real), weights * real
        batches.append(
            Batch(
                states.residual, hidden.copy(), rows, weights, mask, *_targets(group, mask, loss_on)
            )
        )
    return Prepared(
        working,
        batches,
        Ordinary(
            background.document_frequency[working.slots],
            background.num_documents,
            np.asarray(background_total(background.document_frequency)),
        ),
        DriftSample(
            working.rows(background.indices),
            background.weights * working.holds(background.indices) / background.residual_norm,
        ),
    )


def _token_mask(group: Examples) -> np.ndarray:
    """bool [num_rows, seq]: the tokens that are no padding."""
    return np.arange(group.encoded.tokens.shape[1]) < group.encoded.lengths[:, None]


def _targets(
    group: Examples, mask: np.ndarray, loss_on: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scored positions, their targets and which are real: [num_rows, scored] each."""
    predicts = group.encoded.answer_mask if loss_on == "answer" else np.roll(mask, -1, axis=1)
    predicts = predicts & mask
    predicts[:, -1] = False
    scored = predicts.sum(axis=1)
    # The scored positions first, in order; behind them any others, which do not count.
    positions = np.argsort(~predicts, axis=1, kind="stable")[:, : scored.max()].astype(np.int32)
    nexts = np.roll(group.encoded.tokens, -1, axis=1)
    targets = np.take_along_axis(nexts, positions, axis=1)
    return positions, targets, np.arange(scored.max()) < scored[:, None]
