"""Sparse memory finetuning of a Flax NNX module: teach one target, change few rows of a table.

    python examples/optax_nnx.py

`nnx.Optimizer` hands `slot_counts` on to the transformation. The trees of frequencies and slots
are plain dictionaries with the attribute names of the module.

>>> result = main()
loss: ... before, 0.0... after
rows changed: ... of 64
rows outside the selection changed: 0
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from smem_jax.optim import mask_by_top_slots
from smem_jax.slots import access_counts, document_frequency

NUM_SLOTS, DIM, TOP_K, TOP_T = 64, 8, 4, 8


class Memory(nnx.Module):
    """Adds up the value rows that an input reads."""

    def __init__(self, rngs):
        self.keys = nnx.Param(jax.random.normal(rngs.params(), (NUM_SLOTS, DIM)))
        self.values = nnx.Param(jax.random.normal(rngs.params(), (NUM_SLOTS, DIM)))

    def __call__(self, x):
        """Outputs [batch, DIM] and the slots that were read [batch, TOP_K]."""
        scores, slots = jax.lax.top_k(x @ self.keys.T, TOP_K)
        return jnp.einsum("bk,bkd->bd", jax.nn.softmax(scores), self.values[slots]), slots


def main():
    """Parameters before and after, the rows that were selected, and the loss of each step."""
    random, memory = np.random.default_rng(0), Memory(nnx.Rngs(0))
    before = jax.tree.map(np.array, nnx.state(memory))
    fact = random.normal(size=DIM) + 0.2 * random.normal(size=(16, DIM))  # in 16 wordings
    target = random.normal(size=DIM)

    background = [memory(random.normal(size=(4, DIM)))[1] for _ in range(20)]
    counts = jnp.stack([access_counts(slots, NUM_SLOTS) for slots in background])
    mask = mask_by_top_slots(TOP_T, {"values": document_frequency(counts)}, num_documents=20)
    optimizer = nnx.Optimizer(memory, optax.chain(optax.adamw(0.1), mask), wrt=nnx.Param)

    def loss_of(memory):
        outputs, slots = memory(fact)
        return jnp.mean((outputs - target) ** 2), slots

    @nnx.jit
    def step(memory, optimizer):
        (loss, slots), grads = nnx.value_and_grad(loss_of, has_aux=True)(memory)
        optimizer.update(memory, grads, slot_counts={"values": slots})
        return loss

    losses = [float(step(memory, optimizer)) for _ in range(100)]
    rows = np.asarray(optimizer.opt_state[-1].selection["values"].slots[...])  # as in each step
    after = nnx.state(memory)

    changed = np.flatnonzero(np.any(before["values"][...] != after["values"][...], axis=1))
    print(f"loss: {losses[0]:.2f} before, {losses[-1]:.2f} after")
    print(f"rows changed: {len(changed)} of {NUM_SLOTS}")
    print(f"rows outside the selection changed: {len(np.setdiff1d(changed, rows))}")
    return before, after, rows, losses


if __name__ == "__main__":
    main()
