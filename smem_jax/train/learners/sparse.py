"""The sparse learner: the top-t slots of each batch are trained (arXiv 2510.15103).

The step is that of `smem_jax.train.step`, with the frozen prefix inside, since a passage of a
stream comes but once.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from smem_jax.kernels.lookup import lookup
from smem_jax.models.retrofit import memory_layer
from smem_jax.models.transformer import Transformer, default_positions
from smem_jax.scores import background_total
from smem_jax.train import step as steps
from smem_jax.train.background import Background
from smem_jax.train.learners.batch import Batch
from smem_jax.train.step import DriftSample, Ordinary, Settings

_TOKENS_AT_A_TIME = 8192


class SparseLearner:
    """Trains chosen rows of the value table of one block, and nothing else.

    Args:
      model: with a memory layer in the block of the settings.
      background: what ordinary text reads there.
      drift_tokens: background tokens a step, for the penalty on drift.
      seed: of the background tokens and of random selection.
    """

    def __init__(
        self,
        model: Transformer,
        background: Background,
        settings: Settings,
        learning_rate: float,
        drift_tokens: int,
        seed: int,
    ):
        table = memory_layer(model, settings.block).table.values[...]
        self.state = steps.initial_state(jnp.array(table, jnp.float32), settings.optimizer)
        self._dtype = table.dtype
        self._graphdef, self._frozen = steps.without_table(model, settings.block)
        self._settings = settings
        self._learning_rate = learning_rate
        self._ordinary = jax.tree.map(jnp.asarray, _ordinary(background))
        self._drift = _drift_sample(background, table)
        self._drift_tokens = drift_tokens
        self._seed = seed

    def step(self, batch: Batch, number: int) -> dict[str, float]:
        """One step; returns its loss in nats per scored token, the drift and the rows trained."""
        random = np.random.default_rng((self._seed, number))
        sample = random.integers(len(self._drift.rows), size=self._drift_tokens)
        drift = DriftSample(
            self._drift.rows[sample],
            self._drift.weights[sample],
            None if self._drift.before is None else self._drift.before[sample],
        )
        self.state, report = _step(
            self._graphdef,
            self._frozen,
            self.state,
            self._ordinary,
            batch,
            drift,
            self._settings,
            self._learning_rate,
            jax.random.fold_in(jax.random.key(self._seed), number),
        )
        return {
            "loss": float(report.loss),
            "drift": float(report.drift),
            "rows": int(report.selected),
        }

    def model(self) -> Transformer:
        """The model with the rows as learned so far."""
        model = nnx.merge(self._graphdef, self._frozen)
        table: Any = memory_layer(model, self._settings.block).table
        table.values = table.values.replace(self.state.values.astype(self._dtype))
        return model


def _drift_sample(background: Background, table: jax.Array) -> DriftSample[np.ndarray]:
    """What background tokens read, and what they got of the untaught `table`."""
    rows, weights = background.indices, background.weights / background.residual_norm
    if not table.any():
        return DriftSample(rows, weights)
    sums = []
    for start in range(0, len(rows), _TOKENS_AT_A_TIME):
        part = slice(start, start + _TOKENS_AT_A_TIME)
        found = lookup(table, jnp.asarray(rows[part]), jnp.asarray(weights[part]))
        sums.append(np.asarray(found))
    return DriftSample(rows, weights, np.concatenate(sums))


def _ordinary(background: Background) -> Ordinary[np.ndarray]:
    frequency = background.document_frequency
    return Ordinary(frequency, background.num_documents, np.asarray(background_total(frequency)))


@functools.partial(jax.jit, static_argnames=("graphdef", "settings"), donate_argnames="state")
def _step(
    graphdef: nnx.GraphDef,
    frozen: nnx.State,
    state: steps.State,
    ordinary: Ordinary[jax.Array],
    batch: Batch,
    drift: DriftSample[jax.Array],
    settings: Settings,
    learning_rate: jax.Array | float,
    key: jax.Array,
) -> tuple[steps.State, steps.Report]:
    model = nnx.merge(graphdef, frozen)
    x = model.run_blocks(model.embed(batch.tokens), stop=settings.block)
    residual, hidden, _ = model.blocks[settings.block].before_memory(x, default_positions(x))
    reads = memory_layer(model, settings.block).read(hidden)
    arrived = steps.Batch(
        residual,
        hidden,
        reads.indices,
        reads.weights,
        batch.is_lesson,
        batch.positions,
        batch.targets,
        batch.weights,
    )
    return steps.train_step(
        graphdef, frozen, state, ordinary, arrived, drift, settings, learning_rate, key
    )
