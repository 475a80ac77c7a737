"""Learners that train whole arrays by gradient: full finetuning, LoRA, and all of the memory.

The baselines of arXiv 2510.15103, with its optimizers: AdamW, or SGD.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from smem_jax.models.lora import LoRAParam
from smem_jax.models.transformer import Transformer
from smem_jax.train.learners.batch import Batch
from smem_jax.train.skipped import all_finite


def in_memory(path: tuple, variable: Any) -> bool:
    """Whether a parameter belongs to a memory layer: an nnx filter."""
    return isinstance(variable, nnx.Param) and "memory" in path


FILTERS: dict[str, Any] = {"full": nnx.Param, "lora": LoRAParam, "memory": in_memory}


class GradientLearner:
    """Trains the parameters that `method` names with an optax transformation.

    Args:
      model: with its LoRA weights where the method is 'lora'. Its arrays are handed over: the
        trained ones are donated to the first step.
      method: of `FILTERS`.
      optimizer: without a learning rate.
      num_parts: into which a batch is cut, one after another, to hold fewer activations.
    """

    def __init__(
        self,
        model: Transformer,
        method: str,
        optimizer: optax.GradientTransformation,
        learning_rate: float,
        num_parts: int,
    ):
        split: Any = nnx.split(model, FILTERS[method], ...)
        self._graphdef, trained, self._frozen = split
        trained = jax.tree.map(jnp.copy, trained)  # the model may be used again
        self.state = trained, optimizer.init(trained)
        self._optimizer = optimizer
        self._learning_rate = learning_rate
        self._num_parts = num_parts

    def begin(self, lesson: Batch, number: int, group: int | None = None) -> None:
        """Nothing is prepared for a lesson."""

    def step(self, batch: Batch, number: int) -> dict[str, float]:
        """One step; returns its loss in nats per scored token, NaN where it was not applied."""
        trained, memory = self.state
        *self.state, loss = _step(
            self._graphdef,
            self._frozen,
            trained,
            memory,
            batch,
            self._optimizer,
            self._learning_rate,
            self._num_parts,
        )
        return {"loss": float(loss)}

    def model(self) -> Transformer:
        """The model as learned so far, with adapters where the method is 'lora'."""
        return nnx.merge(self._graphdef, self.state[0], self._frozen)


@functools.partial(
    jax.jit,
    static_argnames=("graphdef", "optimizer", "num_parts"),
    donate_argnames=("trained", "memory"),
)
def _step(
    graphdef: nnx.GraphDef,
    frozen: nnx.State,
    trained: nnx.State,
    memory: Any,
    batch: Batch,
    optimizer: optax.GradientTransformation,
    learning_rate: jax.Array | float,
    num_parts: int,
) -> tuple[nnx.State, Any, jax.Array]:
    total = batch.weights.sum()

    @jax.value_and_grad
    def loss_of_part(trained: nnx.State, part: Batch) -> jax.Array:
        model = nnx.merge(graphdef, trained, frozen)
        return weighted_nll(model, model.run_blocks(model.embed(part.tokens)), part) / total

    if num_parts == 1:
        loss, gradient = loss_of_part(trained, batch)
    else:
        parts = jax.tree.map(
            lambda x: x.reshape(num_parts, x.shape[0] // num_parts, *x.shape[1:]), batch
        )
        nothing = jnp.zeros(()), jax.tree.map(jnp.zeros_like, trained)
        (loss, gradient), _ = jax.lax.scan(
            lambda sums, part: (jax.tree.map(jnp.add, sums, loss_of_part(trained, part)), None),
            nothing,
            parts,
        )
    is_finite = all_finite((loss, gradient))

    def apply(trained: nnx.State, memory: Any) -> tuple[nnx.State, Any]:
        updates, memory = optimizer.update(gradient, memory, trained)
        moved = jax.tree.map(lambda p, u: (p - learning_rate * u).astype(p.dtype), trained, updates)
        return moved, memory

    # Choosing between the new and the old of each array would read and write all of them again.
    trained, memory = jax.lax.cond(is_finite, apply, lambda *old: old, trained, memory)
    return trained, memory, jnp.where(is_finite, loss, jnp.nan)


def weighted_nll(model: Transformer, x: jax.Array, batch: Batch) -> jax.Array:
    """Weighted sum of the negative log-likelihood of all targets, in nats.

    Args:
      x: what comes out of the last block, [rows, seq, embed_dim].
    """
    x = jnp.take_along_axis(x, batch.positions[..., None], axis=1)  # [rows, scored, embed_dim]
    logits = model.logits(x).astype(jnp.float32)
    nll = optax.softmax_cross_entropy_with_integer_labels(logits, batch.targets)
    return jnp.sum(nll * batch.weights)


@functools.cache
def optimizer(
    name: str, momentum: float, b1: float, b2: float, weight_decay: float
) -> optax.GradientTransformation:
    """'adam' (AdamW, arXiv 1711.05101) or 'sgd', without a learning rate.

    One object for the same arguments, so that runs of a process share the compiled step.
    """
    if name == "sgd":
        inner = optax.trace(momentum) if momentum else optax.identity()
    else:
        inner = optax.scale_by_adam(b1, b2)
    return optax.chain(inner, optax.add_decayed_weights(weight_decay)) if weight_decay else inner
