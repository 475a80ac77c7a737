"""Everything that the training steps need, computed once from facts and background."""

from collections.abc import Callable, Sequence
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
    """What is the same for all steps, and how to get what is not."""

    working: WorkingSet
    batch: Callable[[int, np.ndarray], Batch[np.ndarray]]  # of a group, rows [batch] of it
    ordinary: Ordinary[np.ndarray]
    drift: DriftSample[np.ndarray]


def prepare(
    model: Transformer,
    block: int,
    examples: Sequence[Examples],
    background: Background,
    loss_on: str,
    cache_prefix: bool,
) -> Prepared:
    """Numbers the slots that can be read, and runs the frozen prefix of all examples.

    Without `cache_prefix` the prefix of a batch is run when the batch is asked for, and any slot of
    the table may be read: for examples that are too many to keep, or seen but once.
    """
    layer = memory_layer(model, block)
    masks = [_token_mask(group) for group in examples]
    targets = [_targets(group, mask, loss_on) for group, mask in zip(examples, masks, strict=True)]

    def states(group: int, rows: np.ndarray, description: str | None) -> _States:
        tokens = examples[group].encoded.tokens[rows]
        found = prefix.run(model, block, tokens, description)
        # Without a gate nothing reads the hidden state, and it need not be kept.
        hidden = found.hidden if layer.gate is not None else found.hidden[..., :0].copy()
        return _States(found.residual, hidden, *prefix.reads(layer, found.hidden))

    def batch(group: int, rows: np.ndarray, found: _States) -> Batch[np.ndarray]:
        mask = masks[group][rows]
        real = mask[..., None]
        return Batch(
            found.residual,
            found.hidden,
            working.rows(found.indices * real),
            found.weights * real,
            mask,
            *(array[rows] for array in targets[group]),
        )

    if cache_prefix:
        everything = [np.arange(len(mask)) for mask in masks]
        kept = [states(group, rows, "examples") for group, rows in enumerate(everything)]
        working = WorkingSet([s.indices[mask] for s, mask in zip(kept, masks, strict=True)])
        cached = [batch(group, everything[group], kept[group]) for group in range(len(kept))]
        del kept

        def take(group: int, rows: np.ndarray) -> Batch[np.ndarray]:
            return Batch(*(array[rows] for array in cached[group]))
    else:
        working = WorkingSet([np.arange(layer.config.num_slots)])

        def take(group: int, rows: np.ndarray) -> Batch[np.ndarray]:
            return batch(group, rows, states(group, rows, None))

    return Prepared(
        working,
        take,
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


class _States(NamedTuple):
    """What reaches the memory layer, and what it reads there."""

    residual: np.ndarray
    hidden: np.ndarray
    indices: np.ndarray
    weights: np.ndarray


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
