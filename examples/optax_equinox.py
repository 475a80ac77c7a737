"""Sparse memory finetuning of an Equinox module: teach one target, change few rows of a table.

    python examples/optax_equinox.py

The trees of frequencies and slots are plain dictionaries with the names of the module's fields.

>>> result = main()
loss: ... before, 0.0... after
rows changed: ... of 64
rows outside the selection changed: 0
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from smem_jax.optim import mask_by_top_slots
from smem_jax.slots import access_counts, document_frequency

NUM_SLOTS, DIM, TOP_K, TOP_T = 64, 8, 4, 8


class Memory(eqx.Module):
    """Adds up the value rows that an input reads."""

    keys: jax.Array
    values: jax.Array

    def __call__(self, x):
        """Outputs [batch, DIM] and the slots that were read [batch, TOP_K]."""
        scores, slots = jax.lax.top_k(x @ self.keys.T, TOP_K)
        return jnp.einsum("bk,bkd->bd", jax.nn.softmax(scores), self.values[slots]), slots


def main():
    """Parameters before and after, the rows that were selected, and the loss of each step."""
    random = np.random.default_rng(0)
    keys, values = jnp.asarray(random.normal(size=(2, NUM_SLOTS, DIM)), jnp.float32)
    before = model = Memory(keys, values)
    fact = random.normal(size=DIM) + 0.2 * random.normal(size=(16, DIM))  # in 16 wordings
    target = random.normal(size=DIM)

    background = [model(random.normal(size=(4, DIM)))[1] for _ in range(20)]
    counts = jnp.stack([access_counts(slots, NUM_SLOTS) for slots in background])
    mask = mask_by_top_slots(TOP_T, {"values": document_frequency(counts)}, num_documents=20)
    optimizer = optax.chain(optax.adamw(0.1), mask)

    @eqx.filter_value_and_grad(has_aux=True)
    def loss_of(model):
        outputs, slots = model(fact)
        return jnp.mean((outputs - target) ** 2), slots

    @eqx.filter_jit
    def step(model, state):
        (loss, slots), grads = loss_of(model)
        params = eqx.filter(model, eqx.is_array)
        updates, state = optimizer.update(grads, state, params, slot_counts={"values": slots})
        return eqx.apply_updates(model, updates), state, loss

    state, losses = optimizer.init(eqx.filter(model, eqx.is_array)), []
    for _ in range(100):
        model, state, loss = step(model, state)
        losses.append(float(loss))
    rows = np.asarray(state[-1].selection["values"].slots)  # the same in each step, as the reads

    changed = np.flatnonzero(np.any(before.values != model.values, axis=1))
    print(f"loss: {losses[0]:.2f} before, {losses[-1]:.2f} after")
    print(f"rows changed: {len(changed)} of {NUM_SLOTS}")
    print(f"rows outside the selection changed: {len(np.setdiff1d(changed, rows))}")
    return before, model, rows, losses


if __name__ == "__main__":
    main()
