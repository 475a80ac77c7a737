"""Sparse memory finetuning of a plain pytree: teach one target, change few rows of a table.

    python examples/optax_plain.py

The model adds up the value rows that its input reads. `mask_by_top_slots` stands last in the
chain, so the momentum and weight decay of AdamW leave all other numbers bit for bit as they were.

>>> result = main()
loss: ... before, 0.0... after
rows changed: ... of 64
rows outside the selection changed: 0
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from smem_jax.optim import mask_by_top_slots
from smem_jax.slots import access_counts, document_frequency

NUM_SLOTS, DIM, TOP_K, TOP_T = 64, 8, 4, 8


def apply(params, x):
    """Outputs [batch, DIM] and the slots that were read [batch, TOP_K]."""
    scores, slots = jax.lax.top_k(x @ params["keys"].T, TOP_K)
    return jnp.einsum("bk,bkd->bd", jax.nn.softmax(scores), params["values"][slots]), slots


def main():
    """Parameters before and after, the rows that were selected, and the loss of each step."""
    random = np.random.default_rng(0)
    keys, values = jnp.asarray(random.normal(size=(2, NUM_SLOTS, DIM)), jnp.float32)
    before = params = {"keys": keys, "values": values}
    fact = random.normal(size=DIM) + 0.2 * random.normal(size=(16, DIM))  # in 16 wordings
    target = random.normal(size=DIM)

    background = [apply(params, random.normal(size=(4, DIM)))[1] for _ in range(20)]
    counts = jnp.stack([access_counts(slots, NUM_SLOTS) for slots in background])
    mask = mask_by_top_slots(TOP_T, {"values": document_frequency(counts)}, num_documents=20)
    optimizer = optax.chain(optax.adamw(0.1), mask)

    def loss_of(params):
        outputs, slots = apply(params, fact)
        return jnp.mean((outputs - target) ** 2), slots

    @jax.jit
    def step(params, state):
        (loss, slots), grads = jax.value_and_grad(loss_of, has_aux=True)(params)
        updates, state = optimizer.update(grads, state, params, slot_counts={"values": slots})
        return optax.apply_updates(params, updates), state, loss

    state, losses = optimizer.init(params), []
    for _ in range(100):
        params, state, loss = step(params, state)
        losses.append(float(loss))
    rows = np.asarray(state[-1].selection["values"].slots)  # the same in each step, as the reads

    changed = np.flatnonzero(np.any(before["values"] != params["values"], axis=1))
    print(f"loss: {losses[0]:.2f} before, {losses[-1]:.2f} after")
    print(f"rows changed: {len(changed)} of {NUM_SLOTS}")
    print(f"rows outside the selection changed: {len(np.setdiff1d(changed, rows))}")
    return before, params, rows, losses


if __name__ == "__main__":
    main()
