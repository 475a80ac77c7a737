"""Sparse memory finetuning of a Haiku module: teach one target, change few rows of a table.

    python examples/optax_haiku.py

Haiku's parameters are a dictionary by module names of dictionaries by parameter names, and so are
the trees of frequencies and slots.

>>> result = main()
loss: ... before, 0.0... after
rows changed: ... of 64
rows outside the selection changed: 0
"""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax

from smem_jax.optim import mask_by_top_slots
from smem_jax.slots import access_counts, document_frequency

NUM_SLOTS, DIM, TOP_K, TOP_T = 64, 8, 4, 8


class Memory(hk.Module):
    """Adds up the value rows that an input reads."""

    def __call__(self, x):
        """Outputs [batch, DIM] and the slots that were read [batch, TOP_K]."""
        normal = hk.initializers.RandomNormal()
        keys = hk.get_parameter("keys", (NUM_SLOTS, DIM), init=normal)
        values = hk.get_parameter("values", (NUM_SLOTS, DIM), init=normal)
        scores, slots = jax.lax.top_k(x @ keys.T, TOP_K)
        return jnp.einsum("bk,bkd->bd", jax.nn.softmax(scores), values[slots]), slots


def main():
    """Parameters before and after, the rows that were selected, and the loss of each step."""
    random = np.random.default_rng(0)
    model = hk.without_apply_rng(hk.transform(lambda x: Memory(name="memory")(x)))
    fact = random.normal(size=DIM) + 0.2 * random.normal(size=(16, DIM))  # in 16 wordings
    target = random.normal(size=DIM)
    before = params = model.init(jax.random.key(0), fact)

    background = [model.apply(params, random.normal(size=(4, DIM)))[1] for _ in range(20)]
    counts = jnp.stack([access_counts(slots, NUM_SLOTS) for slots in background])
    frequency = {"memory": {"values": document_frequency(counts)}}
    mask = mask_by_top_slots(TOP_T, frequency, num_documents=20)
    optimizer = optax.chain(optax.adamw(0.1), mask)

    def loss_of(params):
        outputs, slots = model.apply(params, fact)
        return jnp.mean((outputs - target) ** 2), {"memory": {"values": slots}}

    @jax.jit
    def step(params, state):
        (loss, slots), grads = jax.value_and_grad(loss_of, has_aux=True)(params)
        updates, state = optimizer.update(grads, state, params, slot_counts=slots)
        return optax.apply_updates(params, updates), state, loss

    state, losses = optimizer.init(params), []
    for _ in range(100):
        params, state, loss = step(params, state)
        losses.append(float(loss))
    selection = state[-1].selection["memory"]["values"]
    rows = np.asarray(selection.slots)  # the same in each step, as the reads

    changed = np.flatnonzero(
        np.any(before["memory"]["values"] != params["memory"]["values"], axis=1)
    )
    print(f"loss: {losses[0]:.2f} before, {losses[-1]:.2f} after")
    print(f"rows changed: {len(changed)} of {NUM_SLOTS}")
    print(f"rows outside the selection changed: {len(np.setdiff1d(changed, rows))}")
    return before, params, rows, losses


if __name__ == "__main__":
    main()
