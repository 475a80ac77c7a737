"""The pretraining step: every parameter, the values of the memory layers at a rate of their own.

As in 'Memory Layers at Scale' (arXiv 2412.09764) and its code: AdamW for both; the values at a
constant learning rate, the rest with warm-up and decay; the two gradients are clipped apart.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from ml_collections import ConfigDict

from smem_jax import slot_use
from smem_jax.data.packing import Rows
from smem_jax.errors import InputError
from smem_jax.models.retrofit import memory_blocks, memory_layer
from smem_jax.models.transformer import Transformer
from smem_jax.sharding import of_all
from smem_jax.train import job_model
from smem_jax.train.next_token import total_nll
from smem_jax.train.skipped import all_finite

Metrics = dict[str, jax.Array]


class PretrainState(NamedTuple):
    """What a step changes.

    Attributes:
      params, values: the parameters but for the value tables, and these.
      params_optimizer, values_optimizer: optax states.
      seen: bool [num_slots], the slots that a logged batch has read at the first memory block.
      step: int32 scalar, steps taken.
    """

    params: nnx.State
    values: nnx.State
    params_optimizer: Any
    values_optimizer: Any
    seen: nnx.Variable
    step: jax.Array


class Pretraining:
    """The functions of a pretraining job; they are pure, and jitted by their caller.

    Raises InputError for a warm-up that is longer than the job.
    """

    def __init__(self, config: ConfigDict):
        self._config = config
        self._graphdef = nnx.graphdef(nnx.eval_shape(lambda: self._model(jax.random.key(0))))
        c = config.pretrain
        if not 0 <= c.warmup_steps < config.train.steps:
            raise InputError(
                f"pretrain.warmup_steps={c.warmup_steps} must be less than "
                f"train.steps={config.train.steps}"
            )
        for name in ("b1", "b2"):
            if not 0 <= c[name] < 1:
                raise InputError(f"pretrain.{name}={c[name]} must be at least 0 and below 1")
        schedule = optax.warmup_cosine_decay_schedule(
            0.0, c.learning_rate, c.warmup_steps, config.train.steps, c.final_learning_rate
        )
        self._params_optimizer = optax.chain(
            optax.clip_by_global_norm(c.clip_norm),
            optax.adamw(schedule, c.b1, c.b2, weight_decay=c.weight_decay),
        )
        self._values_optimizer = optax.chain(
            optax.clip_by_global_norm(c.values_clip_norm),
            optax.adamw(
                c.values_learning_rate,
                c.b1,
                c.b2,
                mu_dtype=jnp.float32,
                weight_decay=c.values_weight_decay,
            ),
        )

    def _model(self, key: jax.Array) -> Transformer:
        return job_model.build(self._config, nnx.Rngs(params=key))

    def initial_state(self, key: jax.Array) -> PretrainState:
        """Random parameters, and optimizers that have seen nothing."""
        return self.state_of(*job_model.params_and_values(self._model(key)))

    def state_of(self, params: nnx.State, values: nnx.State) -> PretrainState:
        """The state before the first step, of given parameters."""
        return PretrainState(
            params,
            values,
            self._params_optimizer.init(params),
            self._values_optimizer.init(values),
            slot_use.nothing_seen(self._config.memory.num_slots),
            jnp.zeros((), jnp.int32),
        )

    def step(self, state: PretrainState, rows: Rows[jax.Array]) -> tuple[PretrainState, Metrics]:
        """One step on packed rows [batch, seq]; metrics are float32 scalars."""

        @jax.value_and_grad
        def loss_of(weights: tuple[nnx.State, nnx.State]) -> jax.Array:
            model = nnx.merge(self._graphdef, *weights)
            total, count = total_nll(_logits(model, rows, self._config.model.remat), rows)
            return total / jnp.maximum(count, 1)

        loss, (params_gradient, values_gradient) = loss_of((state.params, state.values))
        params_update, params_optimizer = self._params_optimizer.update(
            params_gradient, state.params_optimizer, state.params
        )
        values_update, values_optimizer = self._values_optimizer.update(
            values_gradient, state.values_optimizer, state.values
        )
        norms = {
            "gradient_norm": optax.tree.norm(params_gradient),
            "values_gradient_norm": optax.tree.norm(values_gradient),
        }
        is_finite = all_finite((loss, norms))
        moved = state._replace(
            params=optax.apply_updates(state.params, params_update),
            values=optax.apply_updates(state.values, values_update),
            params_optimizer=params_optimizer,
            values_optimizer=values_optimizer,
        )
        state = jax.tree.map(lambda new, old: jnp.where(is_finite, new, old), moved, state)
        metrics = {"loss": jnp.where(is_finite, loss, jnp.nan), **norms}
        return state._replace(step=state.step + 1), metrics

    def held_out(self, state: PretrainState, rows: Rows[jax.Array]) -> tuple[jax.Array, jax.Array]:
        """Nats over all predicted tokens of packed rows [batch, seq], and how many there are."""
        model = nnx.merge(self._graphdef, state.params, state.values)
        return total_nll(_logits(model, rows, remat=False), rows)

    def slot_use(
        self, state: PretrainState, rows: Rows[jax.Array]
    ) -> tuple[PretrainState, Metrics]:
        """What the batch reads at the first memory block, for the log; marks that as seen."""
        model = nnx.merge(self._graphdef, state.params, state.values)
        if not memory_blocks(model):
            return state, {}
        block = memory_blocks(model)[0]
        x = model.run_blocks(
            model.embed(rows.tokens), stop=block, positions=rows.positions, segments=rows.segments
        )
        _, hidden, _ = model.block(block).before_memory(x, rows.positions, segments=rows.segments)
        indices = memory_layer(model, block).read(hidden).indices
        indices, mask = of_all(indices), of_all(rows.segments > 0)
        share, seen = slot_use.new_share(indices, state.seen[...], mask)
        metrics = {
            "slot_entropy": slot_use.entropy(indices, seen.shape[0], mask),
            "new_slots": share,
        }
        return state._replace(seen=state.seen.replace(seen)), metrics


def _logits(model: Transformer, rows: Rows[jax.Array], remat: bool) -> jax.Array:
    x = model.embed(rows.tokens)
    x = model.run_blocks(x, positions=rows.positions, segments=rows.segments, remat=remat)
    return model.logits(x)
