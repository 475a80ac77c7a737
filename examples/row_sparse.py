"""Sparse memory finetuning without a gradient of the size of the table, in plain JAX.

    python examples/row_sparse.py

The slots are selected before anything is differentiated. What is differentiated is a block of zeros
[TOP_T, DIM] that stands for a change of the selected rows; its gradient moves them. The step writes
into the table that it is given and costs the same however many slots there are.

>>> result = main()
loss: ... before, 0.0... after
rows changed: ... of 4096
rows outside the selection changed: 0
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from smem_jax import scratch
from smem_jax.kernels.lookup import lookup_with_delta
from smem_jax.optim import row_adam
from smem_jax.slots import access_counts, document_frequency

NUM_SLOTS, DIM, TOP_K, TOP_T = 4096, 8, 4, 8
OPTIMIZER = row_adam()


def read(keys, x):
    """The slots that inputs [batch, DIM] read, and their weights, both [batch, TOP_K]."""
    scores, slots = jax.lax.top_k(x @ keys.T, TOP_K)
    return slots, jax.nn.softmax(scores)


@functools.partial(jax.jit, donate_argnames=("values", "state", "array"))
def step(values, state, array, keys, frequency, x, target):
    """One step; hands back the three arrays that it was given to write into."""
    slots, weights = read(keys, x)
    selection, places, array = scratch.select(array, slots, frequency, 20, TOP_T)

    def loss_of(delta):
        outputs = lookup_with_delta(values, delta, places, slots, weights)
        return jnp.mean((outputs - target) ** 2)

    loss, gradient = jax.value_and_grad(loss_of)(jnp.zeros((TOP_T, DIM)))
    values, state = OPTIMIZER.update(values, state, selection.slots, gradient, 0.1)
    return values, state, array, loss, selection.slots


def main():
    """Parameters before and after, the rows that were selected, and the loss of each step."""
    random = np.random.default_rng(0)
    keys = jnp.asarray(random.normal(size=(NUM_SLOTS, DIM)), jnp.float32)
    values = jnp.asarray(random.normal(size=(NUM_SLOTS, DIM)), jnp.float32)
    before = {"keys": np.array(keys), "values": np.array(values)}
    fact = random.normal(size=DIM) + 0.1 * random.normal(size=(16, DIM))  # in 16 wordings
    target = random.normal(size=DIM)

    background = [read(keys, random.normal(size=(64, DIM)))[0] for _ in range(20)]
    frequency = document_frequency(
        jnp.stack([access_counts(slots, NUM_SLOTS) for slots in background])
    )
    state, array, losses = OPTIMIZER.init(values), scratch.new(NUM_SLOTS), []
    for _ in range(100):
        values, state, array, loss, rows = step(values, state, array, keys, frequency, fact, target)
        losses.append(float(loss))

    after = {"keys": keys, "values": values}
    changed = np.flatnonzero(np.any(before["values"] != np.asarray(values), axis=1))
    print(f"loss: {losses[0]:.2f} before, {losses[-1]:.2f} after")
    print(f"rows changed: {len(changed)} of {NUM_SLOTS}")
    print(f"rows outside the selection changed: {len(np.setdiff1d(changed, rows))}")
    return before, after, np.asarray(rows), losses


if __name__ == "__main__":
    main()
